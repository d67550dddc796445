// The safetensors format: a JSON header that names byte ranges, then the bytes.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/io/mmap_file.h"
#include "src/io/named_tensor.h"

namespace seer {

/// A validated safetensors file. Layout: u64 little-endian N <= 100,000,000; N bytes of JSON, starting with
/// '{', spaces allowed at the end; then the data. Every tensor is {"dtype", "shape", "data_offsets": [begin,
/// end]} with offsets relative to the data; together the ranges cover the data from 0 to the end of the file
/// without holes or overlaps, and duplicate names are refused. Anything else throws an Error that names the
/// file and, where there is one, the tensor.
///
/// The views point into the mapping: they live as long as this object (moving it keeps them valid) and
/// their bytes may be unaligned. Const calls are thread-safe.
class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;

  /// Maps and validates a file.
  explicit SafetensorsFile(const std::filesystem::path& path);

  /// Validates bytes that the caller keeps alive; `display_name` stands for the path in error messages.
  static SafetensorsFile parse(std::span<const std::byte> bytes, const std::string& display_name);

  /// All tensors, in the order of their bytes in the file.
  const std::vector<NamedTensor>& tensors() const { return tensors_; }

  /// The tensor of that name, or null.
  const NamedTensor* find(std::string_view name) const;

  /// The tensor of that name; throws an Error naming the file, the tensor and the nearest names there are.
  const NamedTensor& at(std::string_view name) const;

  /// The "__metadata__" object of the header; empty if there is none.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// The whole file as it is mapped; nothing after parse().
  std::span<const std::byte> mapped() const {
    return mapping_ ? mapping_->data() : std::span<const std::byte>();
  }

  /// The path, or the display name given to parse().
  const std::string& display_name() const { return display_name_; }

 private:
  SafetensorsFile() = default;
  void read(std::span<const std::byte> bytes);

  std::string display_name_;
  std::optional<MmapFile> mapping_;  // none after parse()
  std::vector<NamedTensor> tensors_;
  std::vector<size_t> by_name_;  // positions in tensors_, sorted by name
  std::map<std::string, std::string> metadata_;
};

/// Writes a safetensors file atomically: header padded with spaces to 8 bytes, tensors by descending size of
/// their dtype and then by name, so that every tensor is aligned for its dtype. Files for the Hugging Face
/// tools want {"format": "pt"} in `metadata`. Refuses duplicate names, the name "__metadata__", names that
/// are not UTF-8 and tensors whose bytes do not match dtype and shape.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace seer
