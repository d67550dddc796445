#include "data/file_list.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include <glob.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/core/rng.h"

namespace seer {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kSupported =
    ".jsonl, .json (one object a line) and .txt, each also .gz or .zst; .npy; .safetensors";

// Data by their name, so that leaving them out of a folder would lose what the user meant to read.
constexpr std::array<std::string_view, 10> kOtherData = {".parquet", ".arrow", ".csv", ".tsv", ".tar",
                                                         ".zip",     ".bz2",   ".xz",  ".bin", ".npz"};

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::optional<DataFile> recognise(const fs::path& path) {
  DataFile file;
  file.path = path;
  std::string extension = lower(path.extension().string());
  if (extension == ".gz" || extension == ".zst") {
    file.compression = extension == ".gz" ? Compression::kGzip : Compression::kZstd;
    extension = lower(path.stem().extension().string());
  }
  if (extension == ".jsonl" || extension == ".json")
    file.format = DataFormat::kJsonLines;
  else if (extension == ".txt")
    file.format = DataFormat::kText;
  else if (extension == ".npy" && file.compression == Compression::kNone)
    file.format = DataFormat::kNpy;
  else if (extension == ".safetensors" && file.compression == Compression::kNone)
    file.format = DataFormat::kSafetensors;
  else
    return std::nullopt;
  return file;
}

[[noreturn]] void refuse(const fs::path& path) {
  if (lower(path.extension().string()) == ".parquet") {
    fail(
        "{}: Parquet is not read; convert it once with: python3 -c \"import pandas; "
        "pandas.read_parquet('{}').to_json('{}', orient='records', lines=True, force_ascii=False)\"",
        path.string(), path.string(), fs::path(path).replace_extension(".jsonl").string());
  }
  fail("{}: not a kind of data file that is read; these are: {}", path.string(), kSupported);
}

bool holds_other_data(const fs::path& path) {
  const std::string extension = lower(path.extension().string());
  return extension == ".gz" || extension == ".zst" ||
         std::find(kOtherData.begin(), kOtherData.end(), extension) != kOtherData.end();
}

void add_file(DataFile file, std::vector<DataFile>& files) {
  std::error_code error;
  const uintmax_t size = fs::file_size(file.path, error);
  if (error) fail("{}: {}", file.path.string(), error.message());
  file.size = static_cast<int64_t>(size);
  files.push_back(std::move(file));
}

void add_folder(const fs::path& folder, std::vector<DataFile>& files) {
  std::vector<fs::path> paths;
  try {
    for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator();
         ++entry) {
      if (entry->path().filename().string().starts_with(".")) {
        if (entry->is_directory()) entry.disable_recursion_pending();
        continue;
      }
      if (entry->is_regular_file()) paths.push_back(entry->path());
    }
  } catch (const fs::filesystem_error& error) {
    fail("{}: cannot list the folder: {}", folder.string(), error.what());
  }
  std::sort(paths.begin(), paths.end());

  size_t added = 0;
  std::vector<fs::path> left_out;
  for (const fs::path& path : paths) {
    if (auto file = recognise(path)) {
      add_file(std::move(*file), files);
      ++added;
    } else if (holds_other_data(path)) {
      refuse(path);
    } else {
      left_out.push_back(path);
    }
  }
  if (added == 0) fail("{}: no data file in this folder; read are: {}", folder.string(), kSupported);
  if (!left_out.empty()) {
    log::warn("data: {}: {} file(s) of other kinds left out, the first is {}", folder.string(),
              left_out.size(), left_out.front().string());
  }
}

void add_path(const fs::path& path, std::vector<DataFile>& files) {
  if (fs::is_directory(path)) return add_folder(path, files);
  if (!fs::is_regular_file(path)) fail("{}: not a regular file", path.string());
  auto file = recognise(path);
  if (!file) refuse(path);
  add_file(std::move(*file), files);
}

std::vector<fs::path> matches(const std::string& pattern) {
  glob_t found{};
  const int status = ::glob(pattern.c_str(), 0, nullptr, &found);  // sorted, hidden files left out
  std::vector<fs::path> paths(found.gl_pathv, found.gl_pathv + (status == 0 ? found.gl_pathc : 0));
  ::globfree(&found);
  if (status != 0 && status != GLOB_NOMATCH) fail("{}: cannot read the folders of this glob", pattern);
  std::sort(paths.begin(), paths.end());  // glob(3) sorts by the locale
  return paths;
}

}  // namespace

std::vector<DataFile> expand_inputs(const std::vector<std::string>& inputs) {
  if (inputs.empty()) fail("data.files: no file, folder or glob is named");
  std::vector<DataFile> files;
  for (const std::string& input : inputs) {
    std::error_code error;
    if (fs::exists(input, error)) {
      add_path(input, files);
      continue;
    }
    if (input.find_first_of("*?[") == std::string::npos) fail("{}: no such file or folder", input);
    const std::vector<fs::path> paths = matches(input);
    if (paths.empty()) fail("{}: no file matches this glob", input);
    for (const fs::path& path : paths) add_path(path, files);
  }
  return files;
}

std::vector<int64_t> file_order(int64_t count, uint64_t seed, int64_t epoch, bool shuffle) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (shuffle) {
    Rng rng = Rng(seed).fork("files").fork(static_cast<uint64_t>(epoch));
    rng.shuffle(std::span<int64_t>(order));
  }
  return order;
}

}  // namespace seer
