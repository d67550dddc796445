// Which files a run reads, and in which order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace seer {

enum class DataFormat { kJsonLines, kText, kNpy, kSafetensors };
enum class Compression { kNone, kGzip, kZstd };

struct DataFile {
  std::filesystem::path path;
  DataFormat format = DataFormat::kText;
  Compression compression = Compression::kNone;
  int64_t size = 0;  ///< Bytes on disk.
};

/// The files named by `inputs`, in their order: a file; every file under a folder, sorted by path, hidden
/// files and folders left out; or the matches of a glob (* ? [...]), sorted. Formats go by the name: .jsonl,
/// .json (one object a line) and .txt, each also .gz or .zst; .npy; .safetensors. Throws an Error naming the
/// input if nothing is there or matches, and for any other kind of file; under a folder only Parquet and
/// other known containers are refused, the rest (a README, a licence) is left out with a warning. A file
/// named twice is read twice an epoch.
std::vector<DataFile> expand_inputs(const std::vector<std::string>& inputs);

/// Positions 0 .. count-1 in the order of that epoch: Rng(seed).fork("files").fork(epoch), or as listed.
std::vector<int64_t> file_order(int64_t count, uint64_t seed, int64_t epoch, bool shuffle);

}  // namespace seer
