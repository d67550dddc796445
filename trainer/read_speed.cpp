#include "trainer/read_speed.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <fstream>

#include <fcntl.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/core/thread_pool.h"
#include "src/io/file_reader.h"

namespace seer {
namespace {

constexpr int64_t kShare = int64_t{4} << 20;

/// A piece of a file that one reader takes at a time.
struct Share {
  size_t file;
  int64_t offset;
  int64_t bytes;
};

/// Through the page cache, whatever FileReader would do.
void bring_into_cache(const std::filesystem::path& path, int64_t bytes) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> buffer(kShare);
  while (bytes > 0 && file.read(buffer.data(), std::min(bytes, kShare))) bytes -= file.gcount();
  if (bytes > 0) fail("cannot read {}", path.string());
}

void drop_from_cache(const std::filesystem::path& path, int64_t bytes) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail_errno(fmt::format("cannot open {}", path.string()), errno);
  ::fdatasync(file);  // pages that are not on the disk yet cannot be dropped
  ::posix_fadvise(file, 0, bytes, POSIX_FADV_DONTNEED);
  ::close(file);
}

}  // namespace

ReadSpeed measure_read_speed(const std::vector<std::filesystem::path>& files, int threads,
                             int64_t most_bytes) {
  ReadSpeed speed;
  std::deque<FileReader> readers;
  std::vector<int64_t> lengths;
  std::vector<Share> shares;
  for (const std::filesystem::path& path : files) {
    const int64_t length =
        std::min(static_cast<int64_t>(std::filesystem::file_size(path)), most_bytes - speed.bytes);
    if (length <= 0) break;
    readers.emplace_back(path);
    lengths.push_back(length);
    speed.bytes += length;
    for (int64_t at = 0; at < length; at += kShare) {
      shares.push_back({readers.size() - 1, at, std::min(kShare, length - at)});
    }
    bring_into_cache(path, length);
  }
  SEER_CHECK(!shares.empty(), "nothing to read");

  ThreadPool pool(threads);
  std::vector<std::vector<char>> buffers(static_cast<size_t>(pool.size()), std::vector<char>(kShare));
  const auto bytes_per_second = [&] {
    const auto start = std::chrono::steady_clock::now();
    pool.run(static_cast<int64_t>(shares.size()), [&](int64_t i, int worker) {
      const Share& share = shares[i];
      readers[share.file].read(share.offset, share.bytes, buffers[worker].data());
    });
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    return static_cast<double>(speed.bytes) / taken.count();
  };
  const auto bytes_past_cache = [&] {
    int64_t bytes = 0;
    for (const FileReader& reader : readers) bytes += reader.bytes_read_directly();
    return bytes;
  };
  speed.cached = bytes_per_second();
  for (size_t f = 0; f < lengths.size(); ++f) drop_from_cache(files[f], lengths[f]);
  const int64_t before = bytes_past_cache();
  speed.cold = bytes_per_second();
  speed.past_cache = static_cast<double>(bytes_past_cache() - before) / static_cast<double>(speed.bytes);
  for (size_t f = 0; f < lengths.size(); ++f) drop_from_cache(files[f], lengths[f]);
  return speed;
}

}  // namespace seer
