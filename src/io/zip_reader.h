// Records of a zip archive that are stored, not compressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct zip;

namespace seer {

/// Reads a zip archive (zip64 too) that lies in memory; the bytes must outlive the reader. Throws an Error
/// naming `display_name` for anything that is no whole zip archive or has two records of one name. Not
/// thread-safe.
class ZipReader {
 public:
  ZipReader(std::span<const std::byte> archive, const std::string& display_name);

  bool has(std::string_view name) const { return records_.find(name) != records_.end(); }

  /// All names, sorted.
  std::vector<std::string_view> names() const;

  /// The bytes of a record, checked against its CRC-32. Throws an Error naming the record if it is missing,
  /// compressed, encrypted, damaged, or has not `expected_bytes` bytes (checked before anything is read).
  std::vector<std::byte> read(std::string_view name, uint64_t expected_bytes) const;

  /// The same for a record that may have up to `max_bytes` bytes.
  std::vector<std::byte> read_up_to(std::string_view name, uint64_t max_bytes) const;

 private:
  struct Record {
    uint64_t index = 0;
    uint64_t bytes = 0;
  };
  struct Discard {
    void operator()(zip* archive) const;
  };

  const Record& record(std::string_view name) const;
  std::vector<std::byte> read(std::string_view name, const Record& record) const;

  std::string display_name_;
  uint64_t archive_bytes_ = 0;
  std::unique_ptr<zip, Discard> archive_;
  std::map<std::string, Record, std::less<>> records_;
};

}  // namespace seer
