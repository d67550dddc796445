#include "trainer/append_file.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/core/log.h"

namespace seer {

AppendFile::AppendFile(const std::filesystem::path& path, Mode mode) : path_(path) {
  const int create = mode == Mode::kNew ? O_CREAT | O_EXCL : mode == Mode::kEither ? O_CREAT : 0;
  const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | create;
  fd_ = ::open(path.c_str(), flags, 0644);
  if (fd_ < 0) fail_errno(fmt::format("cannot write {}", path.string()), errno);
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

void AppendFile::append(std::string_view bytes) {
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  if (before < 0) fail_errno(fmt::format("cannot write {}", path_.string()), errno);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      // Should this fail as well, readers still know a half-written end when they see one.
      [[maybe_unused]] const int cut = ::ftruncate(fd_, before);
      fail_errno(fmt::format("cannot write {}", path_.string()), error);
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

bool AppendFile::lock() {
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  log::warn("cannot lock {} ({}): make sure that no other process writes it", path_.string(),
            std::generic_category().message(errno));
  return true;
}

void AppendFile::truncate(int64_t bytes) {
  if (::ftruncate(fd_, bytes) != 0) fail_errno(fmt::format("cannot write {}", path_.string()), errno);
}

void AppendFile::sync() {
  if (::fdatasync(fd_) != 0) fail_errno(fmt::format("cannot write {}", path_.string()), errno);
}

}  // namespace seer
