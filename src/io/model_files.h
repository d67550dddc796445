// The weights of a Hugging Face model folder: one safetensors file or many, seen as one set of tensors.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "src/io/safetensors.h"

namespace seer {

/// Where the bytes of a tensor lie.
struct FileLocation {
  std::filesystem::path path;
  int64_t offset = 0;
};

/// Opens `model.safetensors`, or else the shards that `model.safetensors.index.json` lists under
/// "weight_map"; each shard is mapped once. Throws an Error naming folder, shard and tensor for: neither
/// file present, a shard that is missing, a tensor that the index promises and its shard lacks, an index
/// with duplicate keys or with file names that leave the folder. Tensors that a shard holds and the index
/// does not name are not visible, as in the Hugging Face tools.
///
/// Views live as long as this object and their bytes may be unaligned. Const calls are thread-safe.
class ModelFiles {
 public:
  explicit ModelFiles(const std::filesystem::path& folder);

  /// The tensor of that name, or null.
  const NamedTensor* find(std::string_view name) const;

  /// The tensor of that name; throws an Error naming the folder, the tensor and the nearest names there are.
  const NamedTensor& at(std::string_view name) const;

  /// Where the bytes of one of these tensors lie.
  FileLocation locate(const NamedTensor& tensor) const;

  /// All names, sorted.
  std::vector<std::string> names() const;

  const std::filesystem::path& folder() const { return folder_; }

  /// Bytes of all visible tensors.
  int64_t total_bytes() const;

  /// CRC-32 of every tensor's name, dtype, shape and of samples of its bytes: tells two models of one shape apart without
  /// reading them whole.
  uint32_t fingerprint() const;

 private:
  void open_single(const std::filesystem::path& file);
  void open_sharded(const std::filesystem::path& index);

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const NamedTensor*, std::less<>> tensors_;  // point into files_
};

}  // namespace seer
