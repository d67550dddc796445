// Reading NumPy's .npy files as token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "src/io/mmap_file.h"

namespace seer {

/// A .npy file (format versions 1.0, 2.0 and 3.0) of integers in C order, mapped into memory. Accepted
/// element types are |i1 |u1 and little-endian <i2 <u2 <i4 <u4 <i8 <u8; Fortran order, big-endian,
/// floating-point and object arrays throw an Error naming the file. Const calls are thread-safe.
class NpyFile {
 public:
  explicit NpyFile(const std::filesystem::path& path);

  const std::vector<int64_t>& shape() const { return shape_; }
  /// NumPy's spelling, e.g. "<i4".
  const std::string& dtype() const { return dtype_; }
  /// Product of the extents.
  int64_t numel() const { return numel_; }

  /// Puts elements [begin, begin + count) of the flattened array into `ids` (resized to count). Throws an
  /// Error naming file and position if a value is negative or does not fit int32_t.
  void read_ids(int64_t begin, int64_t count, std::vector<int32_t>& ids) const;

 private:
  void read_header();

  MmapFile mapping_;
  std::vector<int64_t> shape_;
  std::string dtype_;
  int64_t numel_ = 0;
  std::span<const std::byte> elements_;
};

}  // namespace seer
