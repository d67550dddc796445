// Large reads from anywhere in a file, at the speed of what holds it.
#pragma once

#include <cstdint>
#include <filesystem>

#include "src/io/mmap_file.h"

namespace seer {

/// Reads ranges of a file: with pread where the page cache holds them, past the cache (O_DIRECT) where it does not and
/// the file system can, so that a model larger than memory does not push everything else out of it. Thread-safe.
class FileReader {
 public:
  /// Throws Error naming the path if the file cannot be opened.
  explicit FileReader(const std::filesystem::path& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  /// Throws Error naming the path if reading fails or the file ends before the range does.
  void read(int64_t offset, int64_t bytes, void* to) const;

 private:
  bool cached(int64_t offset, int64_t bytes) const;
  void read_buffered(int64_t offset, int64_t bytes, char* to) const;
  bool read_direct(int64_t offset, int64_t bytes, char* to) const;

  MmapFile mapping_;  // to ask what the page cache holds; never touched
  int file_ = -1;
  int direct_ = -1;  // -1 where the file system has no O_DIRECT
};

}  // namespace seer
