#include "trainer/folder_kind.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/json_file.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

bool is_model_config(const fs::path& file) {
  try {
    return read_json_file(file).contains("model_type");
  } catch (const Error&) {
    return false;
  }
}

std::string some_names(const fs::path& folder) {
  constexpr size_t kMost = 4;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  if (names.empty()) return "an empty folder";
  std::sort(names.begin(), names.end());
  if (names.size() > kMost) {
    names.resize(kMost);
    names.emplace_back("...");
  }
  return fmt::format("a folder that holds {}", fmt::join(names, ", "));
}

}  // namespace

FolderKind folder_kind(const fs::path& path) {
  if (fs::exists(path / "trainer_state.json")) return FolderKind::kCheckpoint;
  if (fs::exists(path / "attn_gate_weights.safetensors") || fs::exists(path / "attn_gate_weights.pth")) {
    return FolderKind::kGates;
  }
  if (fs::exists(path / "checkpoints") || fs::exists(path / "metrics.jsonl")) return FolderKind::kRun;
  if (!fs::exists(path / "config.json")) return FolderKind::kOther;
  return is_model_config(path / "config.json") ? FolderKind::kModel : FolderKind::kRun;
}

std::string describe_path(const fs::path& path) {
  if (!fs::exists(path)) return "not there";
  if (!fs::is_directory(path)) return "a file";
  switch (folder_kind(path)) {
    case FolderKind::kModel:
      return "a model's folder";
    case FolderKind::kGates:
      return "a gates folder";
    case FolderKind::kRun:
      return "a run's folder";
    case FolderKind::kCheckpoint:
      return "a checkpoint";
    case FolderKind::kOther:
      break;
  }
  return some_names(path);
}

std::filesystem::path without_trailing_slash(const std::filesystem::path& path) {
  std::filesystem::path normal = path.lexically_normal();
  if (normal == "." || normal == "..") normal = std::filesystem::absolute(path).lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace seer
