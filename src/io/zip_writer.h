// Writing a zip archive the way PyTorch lays it out: records stored and aligned.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "src/io/atomic_file.h"

struct zip;

namespace seer {

/// Writes a zip archive atomically. Records are stored without compression in the order of add(), each
/// payload starts at a multiple of 64 bytes of the file (padded by an extra field "FB", as PyTorch does), and
/// times are fixed, so that equal content gives equal files. Without commit() nothing is left behind. Throws
/// an Error naming the file.
class ZipWriter {
 public:
  static constexpr size_t kAlignment = 64;

  explicit ZipWriter(const std::filesystem::path& path);
  ~ZipWriter();
  ZipWriter(const ZipWriter&) = delete;
  ZipWriter& operator=(const ZipWriter&) = delete;

  /// Adds a record; `bytes` must stay valid until commit().
  void add(const std::string& name, std::span<const std::byte> bytes);

  void commit();

 private:
  struct Sink;
  struct Discard {
    void operator()(zip* archive) const;
  };

  std::filesystem::path path_;
  std::unique_ptr<Sink> sink_;
  std::unique_ptr<zip, Discard> archive_;  // uses sink_ until it is closed or discarded
  size_t offset_ = 0;                      // in the file, of the next local header
};

}  // namespace seer
