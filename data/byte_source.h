// Bytes of a file in order, decompressed on the way.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "data/file_list.h"

namespace seer {

/// A forward-only stream. Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  /// Fills `out` from the front and returns the number of bytes written: less than asked for only at the end,
  /// 0 from then on. Throws an Error naming the file if it cannot be read or its compressed data are damaged
  /// or end early.
  virtual size_t read(std::span<char> out) = 0;
};

/// Opens a file. Gzip members and zstd frames that follow one another are read as one stream, zstd with
/// windows of up to 2 GiB (--long=31).
std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path, Compression compression);

}  // namespace seer
