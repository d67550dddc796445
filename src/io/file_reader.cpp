#include "src/io/file_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr int64_t kPage = 4096;

}  // namespace

FileReader::FileReader(const std::filesystem::path& path) : mapping_(path) {
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ < 0) fail_errno(fmt::format("cannot open {}", path.string()), errno);
  direct_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
}

FileReader::~FileReader() {
  ::close(file_);
  if (direct_ >= 0) ::close(direct_);
}

/// Whether most of the range is in memory already.
bool FileReader::cached(int64_t offset, int64_t bytes) const {
  const int64_t first = offset / kPage * kPage;
  const int64_t end = std::min<int64_t>(offset + bytes, static_cast<int64_t>(mapping_.data().size()));
  if (end <= first) return true;
  std::vector<unsigned char> pages((end - first + kPage - 1) / kPage);
  auto* begin = const_cast<std::byte*>(mapping_.data().data()) + first;
  if (::mincore(begin, end - first, pages.data()) != 0) return true;
  const auto resident =
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
  return 2 * resident >= static_cast<int64_t>(pages.size());
}

void FileReader::read(int64_t offset, int64_t bytes, void* to) const {
  char* out = static_cast<char*>(to);
  if (direct_ >= 0 && !cached(offset, bytes) && read_direct(offset, bytes, out)) return;
  read_buffered(offset, bytes, out);
}

void FileReader::read_buffered(int64_t offset, int64_t bytes, char* to) const {
  while (bytes > 0) {
    const ssize_t got = ::pread(file_, to, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(fmt::format("cannot read {}", mapping_.path().string()), errno);
    if (got == 0)
      fail("{} ends at byte {}: it was cut while it was in use", mapping_.path().string(), offset);
    to += got;
    offset += got;
    bytes -= got;
  }
}

/// O_DIRECT wants whole pages at aligned addresses: they go through a buffer. False: the caller should read through the
/// cache, which knows how to say what is wrong.
bool FileReader::read_direct(int64_t offset, int64_t bytes, char* to) const {
  const int64_t first = offset / kPage * kPage;
  const int64_t span = (offset + bytes - first + kPage - 1) / kPage * kPage;
  const std::unique_ptr<void, void (*)(void*)> buffer(std::aligned_alloc(kPage, span), std::free);
  if (buffer == nullptr) return false;
  char* pages = static_cast<char*>(buffer.get());
  int64_t got = 0;
  while (got < offset + bytes - first) {
    const ssize_t n = ::pread(direct_, pages + got, span - got, first + got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    got += n;
    if (got % kPage != 0) break;  // the end of the file
  }
  if (got < offset + bytes - first) return false;
  std::memcpy(to, pages + (offset - first), bytes);
  return true;
}

}  // namespace seer
