#include "src/io/file_reader.h"

#include <cstring>
#include <string>

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
  std::string got(kBytes - 1001, '\0');
  reader.read(1001, kBytes - 1001, got.data());  // written a moment ago
  EXPECT_EQ(got, content_.substr(1001));
  EXPECT_EQ(reader.bytes_read_directly(), 0);

  int64_t read = 0;
  for (const int64_t offset : {0, 1, 4097, 12288, 13000}) {  // 12288: within the last page
    for (const int64_t bytes : {1, 4095, 5000, 289}) {
      if (offset + bytes > kBytes) continue;
      drop_cache();
      std::string range(bytes, '\0');
      reader.read(offset, bytes, range.data());
      EXPECT_EQ(range, content_.substr(offset, bytes)) << offset << "+" << bytes;
      read += bytes;
      EXPECT_EQ(reader.bytes_read_directly(), read) << offset << "+" << bytes;
    }
  }
  // And leaves the cache as it was.
  std::string again(kBytes, '\0');
  reader.read(0, kBytes, again.data());
  EXPECT_EQ(again, content_);
  EXPECT_EQ(reader.bytes_read_directly(), read + kBytes);
}

TEST_F(FileReaderTest, ReadsMoreThanItsBufferHolds) {
  constexpr int64_t kLarge = (int64_t{9} << 20) + 77;
  std::string large(kLarge, '\0');
  Rng rng(4);
  for (char& byte : large) byte = static_cast<char>(rng.next());
  write_file_atomically(path_, large);
  drop_cache();
  const FileReader reader(path_);
  std::string got(kLarge - 5, '\0');
  reader.read(5, kLarge - 5, got.data());
  EXPECT_TRUE(got == large.substr(5));
  if (no_direct_reads().empty()) {
    EXPECT_GT(reader.bytes_read_directly(), kLarge / 2);
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
