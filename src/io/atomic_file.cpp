#include "src/io/atomic_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/io/mmap_file.h"

namespace seer {
namespace fs = std::filesystem;

AtomicFile::AtomicFile(const fs::path& path)
    : path_(path), temporary_(path.string() + fmt::format(".tmp.{}", ::getpid())) {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_errno(fmt::format("cannot write {}", path_.string()), errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_at(size_, bytes);
}

void AtomicFile::write_at(size_t offset, std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(fmt::format("cannot write {}", path_.string()), errno);
    done += static_cast<size_t>(n);
  }
  size_ = std::max(size_, offset + bytes.size());
}

void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail_errno(fmt::format("cannot write {}", path_.string()), errno);
  // close() reports delayed write errors of network file systems.
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail_errno(fmt::format("cannot write {}", path_.string()), error);
  }
  sync_folder(path_.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_text_file(const fs::path& path, size_t max_bytes) {
  const MmapFile file(path);
  if (file.data().size() > max_bytes) {
    fail("{} has {} bytes: more than the {} accepted for such a file", path.string(), file.data().size(),
         max_bytes);
  }
  return {reinterpret_cast<const char*>(file.data().data()), file.data().size()};
}

void sync_folder(const fs::path& folder) {
  const fs::path name = folder.empty() ? fs::path(".") : folder;
  const int fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_errno(fmt::format("cannot open folder {}", name.string()), errno);
  ::fsync(fd);  // some file systems refuse fsync on folders; the rename itself has happened
  ::close(fd);
}

void commit_folder(const fs::path& temporary, const fs::path& target) {
  for (const auto& entry : fs::recursive_directory_iterator(temporary)) {
    if (entry.is_directory()) sync_folder(entry.path());
    if (!entry.is_regular_file()) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || ::fsync(fd) != 0) {
      const int error = errno;
      if (fd >= 0) ::close(fd);
      fail_errno(fmt::format("cannot write {}", entry.path().string()), error);
    }
    ::close(fd);
  }
  sync_folder(temporary);
  const auto move = [&](const fs::path& from, const fs::path& to, unsigned flags) {
    return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0;
  };
  // rename() cannot replace a folder that holds files, so an existing target changes places with the new one.
  // Where the file system cannot do that in one step, the old folder is moved aside first.
  bool moved = move(temporary, target, RENAME_EXCHANGE);
  if (moved) {
    fs::remove_all(temporary);
  } else if (errno == ENOENT) {
    moved = move(temporary, target, 0);
  } else {
    const fs::path aside = target.string() + fmt::format(".old.{}", ::getpid());
    moved = move(target, aside, 0) && move(temporary, target, 0);
    if (moved) fs::remove_all(aside);
  }
  if (!moved) fail_errno(fmt::format("cannot move {} to {}", temporary.string(), target.string()), errno);
  sync_folder(target.parent_path());
}

}  // namespace seer
