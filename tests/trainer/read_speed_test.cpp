#include "trainer/read_speed.h"

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"

namespace seer::test {
namespace {

TEST(ReadSpeed, ReadsNoMoreThanItIsAllowed) {
  const TempDir folder;
  constexpr int64_t kBytes = (int64_t{5} << 20) + 123;
  write_file_atomically(folder / "a", std::string(kBytes, 'a'));
  write_file_atomically(folder / "b", std::string(kBytes, 'b'));
  const std::vector<std::filesystem::path> files = {folder / "a", folder / "b"};

  const ReadSpeed all = measure_read_speed(files, 2, 100 * kBytes);
  EXPECT_EQ(all.bytes, 2 * kBytes);
  EXPECT_GT(all.cached, 0);
  EXPECT_GT(all.cold, 0);
  EXPECT_GE(all.past_cache, 0);
  EXPECT_LE(all.past_cache, 1);
  EXPECT_EQ(measure_read_speed(files, 3, kBytes + 1).bytes, kBytes + 1);
  EXPECT_EQ(measure_read_speed(files, 1, 1000).bytes, 1000);
  EXPECT_THROW(measure_read_speed({folder / "none"}, 1, 1000), std::exception);
}

}  // namespace
}  // namespace seer::test
