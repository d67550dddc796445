// A file that only grows: each append is whole or did not happen.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace seer {

/// Owns the open file. Every failure (unwritable folder, full disk) throws an Error naming the file. Not
/// thread-safe.
class AppendFile {
 public:
  enum class Mode {
    kNew,       ///< The file must not exist yet.
    kExisting,  ///< Continues a file that exists.
    kEither,
  };

  AppendFile(const std::filesystem::path& path, Mode mode);
  ~AppendFile();
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Hands all bytes to the kernel; when that fails half-way the file is cut back to what it was before.
  void append(std::string_view bytes);

  /// Makes this process the file's only writer until the object goes; false: another one is. Warns where the file system
  /// knows no locks.
  bool lock();
  /// Cuts the file to its first `bytes`.
  void truncate(int64_t bytes);

  /// Waits until the file's bytes are on disk.
  void sync();

 private:
  std::filesystem::path path_;
  int fd_;
};

}  // namespace seer
