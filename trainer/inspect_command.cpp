#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/json_file.h"
#include "src/io/model_files.h"
#include "src/io/pth.h"
#include "src/model/model_config.h"
#include "trainer/checkpoint.h"
#include "trainer/commands.h"
#include "trainer/folder_kind.h"
#include "trainer/gates_folder.h"
#include "trainer/run_folder.h"
#include "trainer/table.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

/// Prints one line per tensor and a total; returns 1 if anything is not finite, for scripts.
int print_tensors(const std::vector<NamedTensor>& tensors) {
  TextTable table({"tensor", "dtype", "shape", "bytes", "finite"});
  size_t bytes = 0;
  int64_t elements = 0;
  bool finite = true;
  for (const NamedTensor& tensor : tensors) {
    const bool good = all_finite(tensor.bytes.data(), tensor.dtype, tensor.numel());
    finite &= good;
    bytes += tensor.bytes.size();
    elements += tensor.numel();
    table.add_row({tensor.name, std::string(name_of(tensor.dtype)), shape_text(tensor.shape),
                   std::to_string(tensor.bytes.size()), good ? "yes" : "NO"});
  }
  table.add_rule();
  table.add_row({fmt::format("{} tensors", tensors.size()), "", fmt::format("{} elements", elements),
                 std::to_string(bytes), finite ? "yes" : "NO"});
  fmt::print("{}", table.to_string());
  return finite ? 0 : 1;
}

int inspect_safetensors(const fs::path& path) {
  const SafetensorsFile file(path);
  fmt::print("safetensors file {}\n", path.string());
  for (const auto& [key, value] : file.metadata()) fmt::print("  {}: {}\n", key, value);
  return print_tensors(file.tensors());
}

int inspect_pth(const fs::path& path) {
  const PthFile file(path);
  fmt::print("PyTorch file {}\n", path.string());
  std::vector<NamedTensor> tensors;
  for (const OwnedTensor& tensor : file.tensors()) tensors.push_back(tensor.view());
  const int code = print_tensors(tensors);
  if (!file.skipped().empty())
    fmt::print("{} values that are no tensors were left out\n", file.skipped().size());
  return code;
}

int inspect_gates(const fs::path& folder) {
  const nlohmann::json config = read_json_file(folder / "config.json");
  fmt::print("gates folder {}\n", folder.string());
  if (config.is_object()) {
    for (const auto& [key, value] : config.items()) {
      if (key == "base_model" || key.starts_with("seerattn_") || key == kOurGate)
        fmt::print("  {}: {}\n", key, value.dump());
      if (key == kCalibratedThresholds && value.is_object())
        fmt::print("  calibrated (use with --calibrated): to {}, kept besides {}\n",
                   value.value("target", nlohmann::json()).dump(),
                   value.value("forced", nlohmann::json()).dump());
    }
  }
  const std::vector<OwnedTensor> owned = read_gates(folder);
  std::vector<NamedTensor> tensors;
  tensors.reserve(owned.size());
  for (const OwnedTensor& tensor : owned) tensors.push_back(tensor.view());
  const int code = print_tensors(tensors);
  check_complete(folder, tensors);
  return code;
}

int inspect_checkpoint(const fs::path& folder) {
  const TrainerState state = read_trainer_state(folder);
  fmt::print("checkpoint {}: step {}, {} tokens, {:.1f} s of training, next sequence {}\n", folder.string(),
             state.step, state.tokens, state.seconds, state.cursor.next_sequence);
  for (const auto& [key, value] : state.identity) fmt::print("  {}: {}\n", key, value);
  return inspect_safetensors(folder / "state.safetensors");
}

int inspect_model(const fs::path& folder) {
  const ModelConfig c = load_model_config(folder);
  fmt::print(
      "model {} ({}): {} layers, hidden {}, intermediate {}, {} query and {} kv heads of {}, vocabulary {}, "
      "positions {}\n",
      folder.string(), c.model_type, c.num_layers, c.hidden_size, c.intermediate_size, c.num_heads,
      c.num_kv_heads, c.head_dim, c.vocab_size, c.max_position_embeddings);
  const ModelFiles files(folder);
  std::vector<NamedTensor> tensors;
  for (const std::string& name : files.names()) tensors.push_back(files.at(name));
  return print_tensors(tensors);
}

int inspect_run(const RunPaths& run) {
  fmt::print("run {}\n", run.root.string());
  const auto latest = latest_checkpoint(run.checkpoints());
  if (!latest) {
    fmt::print("no checkpoint yet\n");
    return 0;
  }
  return inspect_checkpoint(*latest);
}

}  // namespace

int inspect_command(const std::string& name) {
  const fs::path path(name);
  if (!fs::exists(path)) fail("{} does not exist", name);
  if (fs::is_directory(path)) {
    switch (folder_kind(path)) {
      case FolderKind::kCheckpoint:
        return inspect_checkpoint(path);
      case FolderKind::kGates:
        return inspect_gates(path);
      case FolderKind::kRun:
        return inspect_run(RunPaths{path});
      case FolderKind::kModel:
        return inspect_model(path);
      case FolderKind::kOther:
        break;
    }
    fail("{} is {}: expected a model (config.json), gates (attn_gate_weights.*), a run or a checkpoint", name,
         describe_path(path));
  }
  const std::string extension = path.extension().string();
  if (extension == ".safetensors") return inspect_safetensors(path);
  if (extension == ".pth" || extension == ".pt" || extension == ".bin") return inspect_pth(path);
  fail("{}: expected a folder, a .safetensors or a .pth file", name);
}

}  // namespace seer
