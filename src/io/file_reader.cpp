#include "src/io/file_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/core/ceil_div.h"
#include "src/core/error.h"

namespace seer {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kBounceBytes = int64_t{4} << 20;

struct alignas(kPage) Page {
  std::array<char, kPage> bytes;
};

/// This thread's buffer of kBounceBytes at an address that O_DIRECT takes.
char* bounce_buffer() {
  thread_local std::vector<Page> pages(kBounceBytes / kPage);
  return pages.front().bytes.data();
}

}  // namespace

FileReader::FileReader(const std::filesystem::path& path) : path_(path) {
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ < 0) fail_errno(fmt::format("cannot open {}", path.string()), errno);
  direct_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
}

FileReader::~FileReader() {
  ::close(file_);
  if (direct_ >= 0) ::close(direct_);
}

void FileReader::read(int64_t offset, int64_t bytes, void* to) const {
  char* out = static_cast<char*>(to);
  int64_t done = 0;
  if (direct_ >= 0) {
    if (const auto cached = read_cached(offset, bytes, out)) {
      done = *cached;
      done += read_direct(offset + done, bytes - done, out + done);
    }
  }
  // Also what is wrong with a file is left to this path to say.
  read_buffered(offset + done, bytes - done, out + done);
}

/// Reads as far as the page cache reaches and returns how far that was; nothing where the kernel cannot answer for this
/// file system. (mincore() can, but only for files of one's own: of others it says that all is cached.)
std::optional<int64_t> FileReader::read_cached(int64_t offset, int64_t bytes, char* to) const {
  int64_t done = 0;
  while (done < bytes) {
    const iovec rest{to + done, static_cast<size_t>(bytes - done)};
    const ssize_t got = ::preadv2(file_, &rest, 1, offset + done, RWF_NOWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EAGAIN) return std::nullopt;
    if (got <= 0) break;  // the next page is not cached, or the file ends
    done += got;
  }
  return done;
}

/// Returns how many bytes it could read. O_DIRECT wants whole pages at aligned addresses: they go through a buffer.
int64_t FileReader::read_direct(int64_t offset, int64_t bytes, char* to) const {
  if (bytes == 0) return 0;
  char* const pages = bounce_buffer();
  int64_t done = 0;
  while (done < bytes) {
    const int64_t at = offset + done;
    const int64_t first = at / kPage * kPage;
    const int64_t span = std::min(kBounceBytes, ceil_div(offset + bytes - first, kPage) * kPage);
    const ssize_t got = ::pread(direct_, pages, static_cast<size_t>(span), first);
    if (got < 0 && errno == EINTR) continue;
    const int64_t useful = std::min<int64_t>(first + got, offset + bytes) - at;
    if (got <= 0 || useful <= 0) break;
    std::memcpy(to + done, pages + (at - first), static_cast<size_t>(useful));
    done += useful;
  }
  // Asking what is cached made the kernel begin to read ahead: what is read past the cache is not wanted in it.
  ::posix_fadvise(file_, offset, done, POSIX_FADV_DONTNEED);
  direct_bytes_ += done;
  return done;
}

void FileReader::read_buffered(int64_t offset, int64_t bytes, char* to) const {
  while (bytes > 0) {
    const ssize_t got = ::pread(file_, to, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(fmt::format("cannot read {}", path_.string()), errno);
    if (got == 0) fail("{} ends at byte {}: it was cut while it was in use", path_.string(), offset);
    to += got;
    offset += got;
    bytes -= got;
  }
}

}  // namespace seer
