// Large reads from anywhere in a file, at the speed of what holds it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace seer {

/// Reads ranges of a file: from the page cache what it holds, past the cache (O_DIRECT) what it does not, where the file
/// system can, so that a model larger than memory does not push everything else out of it. Thread-safe.
class FileReader {
 public:
  /// Throws Error naming the path if the file cannot be opened.
  explicit FileReader(const std::filesystem::path& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  /// Throws Error naming the path if reading fails or the file ends before the range does.
  void read(int64_t offset, int64_t bytes, void* to) const;

  /// Of all ranges so far, the bytes that came past the page cache.
  int64_t bytes_read_directly() const { return direct_bytes_; }

 private:
  std::optional<int64_t> read_cached(int64_t offset, int64_t bytes, char* to) const;
  int64_t read_direct(int64_t offset, int64_t bytes, char* to) const;
  void read_buffered(int64_t offset, int64_t bytes, char* to) const;

  const std::filesystem::path path_;
  int file_ = -1;
  int direct_ = -1;  // -1 where the file system has no O_DIRECT
  mutable std::atomic<int64_t> direct_bytes_ = 0;
};

}  // namespace seer
