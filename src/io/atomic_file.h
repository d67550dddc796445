// Writing files so that a crash, a full disk or a kill leaves either the old file or the whole new one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace seer {

/// Writes to `<path>.tmp.<pid>` beside the target; commit() fsyncs the file, renames it over the target and
/// fsyncs the folder. Destroyed without commit(), the temporary file is removed and the target left as it
/// was. Every failure (unwritable folder, full disk) throws an Error naming the target and the cause.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Writes over bytes written before, or past them; write() goes on at the end.
  void write_at(size_t offset, std::span<const std::byte> bytes);
  /// Bytes written so far.
  size_t size() const { return size_; }
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
  size_t size_ = 0;
};

/// The whole of a small text file written atomically.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// The whole of a file as text; throws Error if it cannot be read or is larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 30);

/// fsyncs a folder, so that renames inside it survive a power cut.
void sync_folder(const std::filesystem::path& folder);

/// fsyncs everything in `temporary` and renames that folder to `target`. An existing target is replaced in
/// one step where the file system can exchange two names (Linux's usual ones can), else it is moved aside to
/// `<target>.old.<pid>` first. `temporary` is gone afterwards.
void commit_folder(const std::filesystem::path& temporary, const std::filesystem::path& target);

}  // namespace seer
