#include "src/io/file_reader.h"

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/core/rng.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;

class FileReaderTest : public testing::Test {
 protected:
  static constexpr int64_t kBytes = 3 * 4096 + 1001;

  FileReaderTest() {
    Rng rng(3);
    for (char& byte : content_) byte = static_cast<char>(rng.next());
    write_file_atomically(path_, content_);
  }

  /// Asks the kernel to forget the file's pages, so that reads go past the cache where the file system can.
  void drop_cache() const {
    const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }

  /// Brings the file's pages into the kernel's cache.
  void fill_cache() const {
    std::ifstream in(path_, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    ASSERT_TRUE(in.good());
  }

  enum class Cache { kFilled, kDropped, kAsLeft };  // as a read past it leaves it

  /// Reads a range, compares it and returns how many bytes of it went past the cache, once that is `wanted`. The
  /// kernel only advises itself: a page that it is still reading ahead survives being dropped, one that is held can be
  /// evicted, and a fast disk answers before the question "is it cached?" is over. So one try in twenty must do.
  int64_t direct_bytes(const FileReader& reader, int64_t offset, int64_t bytes, Cache cache,
                       int64_t wanted) const {
    int64_t direct = -1;
    for (int attempt = 0; attempt < 20 && direct != wanted; ++attempt) {
      if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (cache == Cache::kFilled) {
        fill_cache();
      } else {
        drop_cache();
      }
      if (cache == Cache::kAsLeft) read_and_compare(reader, offset, bytes);
      direct = read_and_compare(reader, offset, bytes);
    }
    return direct;
  }

  /// Returns how many bytes of the range went past the cache.
  int64_t read_and_compare(const FileReader& reader, int64_t offset, int64_t bytes) const {
    const int64_t before = reader.bytes_read_directly();
    std::string got(bytes, '\0');
    reader.read(offset, bytes, got.data());
    EXPECT_TRUE(got == content_.substr(offset, bytes)) << offset << "+" << bytes;
    return reader.bytes_read_directly() - before;
  }

  /// Why the kernel cannot read this file past its cache, empty if it can.
  std::string no_direct_reads() const {
    const int direct = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (direct < 0) return "the file system of " + path_.string() + " has no O_DIRECT";
    ::close(direct);
    const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    char byte = 0;
    const iovec one{&byte, 1};
    const bool asks = ::preadv2(fd, &one, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN;
    ::close(fd);
    return asks ? "" : "the file system of " + path_.string() + " has no RWF_NOWAIT";
  }

  const TempDir folder_;
  const fs::path path_ = folder_ / "file";
  std::string content_ = std::string(kBytes, '\0');
};

TEST_F(FileReaderTest, ReadsAnyRangeCachedOrNot) {
  const FileReader reader(path_);
  for (const bool cached : {true, false}) {
    for (const int64_t offset : {0, 1, 4095, 4096, 4097, 12287, 12288, 13000}) {
      for (const int64_t bytes : {1, 2, 4096, 5000}) {
        if (offset + bytes > kBytes) continue;
        if (!cached) drop_cache();
        std::string got(bytes, '\0');
        reader.read(offset, bytes, got.data());
        EXPECT_EQ(got, content_.substr(offset, bytes))
            << offset << "+" << bytes << (cached ? "" : " uncached");
      }
    }
    std::string whole(kBytes, '\0');
    reader.read(0, kBytes, whole.data());
    EXPECT_EQ(whole, content_);
  }
}

TEST_F(FileReaderTest, ReadsPastTheCacheWhatItDoesNotHold) {
  if (const std::string why = no_direct_reads(); !why.empty()) GTEST_SKIP() << why;
  const FileReader reader(path_);
  EXPECT_EQ(direct_bytes(reader, 1001, kBytes - 1001, Cache::kFilled, 0), 0);
  for (const int64_t offset : {0, 1, 4097, 12288, 13000}) {  // 12288: within the last page
    for (const int64_t bytes : {1, 4095, 5000, 289}) {
      if (offset + bytes > kBytes) continue;
      EXPECT_EQ(direct_bytes(reader, offset, bytes, Cache::kDropped, bytes), bytes) << offset << "+" << bytes;
    }
  }
  // And leaves the cache as it was.
  EXPECT_EQ(direct_bytes(reader, 0, kBytes, Cache::kAsLeft, kBytes), kBytes);
}

TEST_F(FileReaderTest, ReadsMoreThanItsBufferHolds) {
  constexpr int64_t kLarge = (int64_t{9} << 20) + 77;
  content_.resize(kLarge);
  Rng rng(4);
  for (char& byte : content_) byte = static_cast<char>(rng.next());
  write_file_atomically(path_, content_);
  const FileReader reader(path_);
  const int64_t direct = direct_bytes(reader, 5, kLarge - 5, Cache::kDropped, kLarge - 5);
  if (no_direct_reads().empty()) {
    EXPECT_EQ(direct, kLarge - 5);
  }
}

TEST_F(FileReaderTest, NamesAFileThatEndsTooEarly) {
  const FileReader reader(path_);
  std::string got(100, '\0');
  for (const bool cached : {true, false}) {
    if (!cached) drop_cache();
    try {
      reader.read(kBytes - 50, 100, got.data());
      FAIL() << "read past the end";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(path_.string()),
                                               testing::HasSubstr(std::to_string(kBytes))));
    }
  }
  EXPECT_THROW(FileReader(folder_ / "absent"), Error);
}

}  // namespace
}  // namespace seer::test
