#include "data/byte_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/rng.h"
#include "tests/data/corpus_files.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Text that compresses, with parts that do not.
std::string sample(size_t size) {
  Rng rng(7);
  std::string text;
  while (text.size() < size)
    text += rng.below(3) == 0 ? "the same words again and again " : std::to_string(rng.next());
  text.resize(size);
  return text;
}

struct Case {
  const char* name;
  Compression compression;
  std::string (*compress)(std::string_view);
};

class CompressedTest : public ::testing::TestWithParam<Case> {
 protected:
  std::string read_all(std::string_view bytes, size_t step = 1 << 16) {
    test::write_bytes(folder_ / "file", bytes);
    const auto source = open_bytes(folder_ / "file", GetParam().compression);
    std::string all;
    std::string buffer(step, '\0');
    while (const size_t count = source->read(buffer)) {
      all.append(buffer, 0, count);
    }
    EXPECT_EQ(source->read(buffer), 0U) << "the end stays the end";
    return all;
  }

  std::string compress(std::string_view bytes) { return GetParam().compress(bytes); }

  test::TempDir folder_;
};

TEST_P(CompressedTest, GivesTheTextBack) {
  const std::string text = sample(1'500'000);
  EXPECT_EQ(read_all(compress(text)), text);
  EXPECT_EQ(read_all(compress(text.substr(0, 1000)), 7), text.substr(0, 1000));
  EXPECT_EQ(read_all(compress("")), "");
}

TEST_P(CompressedTest, ReadsThroughJoinedMembers) {
  const std::string text = sample(300'000);
  EXPECT_EQ(read_all(compress(text) + compress("") + compress(text)), text + text);
}

TEST_P(CompressedTest, TruncationIsAnErrorNamingTheFile) {
  const std::string whole = compress(sample(300'000));
  for (const size_t size : {size_t{0}, size_t{3}, whole.size() / 2, whole.size() - 1}) {
    const std::string message = test::error_of([&] { read_all(whole.substr(0, size)); });
    EXPECT_THAT(message, AllOf(HasSubstr("file"), HasSubstr("truncated"))) << size;
  }
  EXPECT_THAT(test::error_of([&] { read_all(whole + whole.substr(0, 20)); }), HasSubstr("truncated"));
}

TEST_P(CompressedTest, DamageIsAnErrorNamingTheFile) {
  std::string damaged = compress(sample(300'000));
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 0x55);
  EXPECT_THAT(test::error_of([&] { read_all(damaged); }), HasSubstr((folder_ / "file").string()));
  EXPECT_THAT(test::error_of([&] { read_all("this is not compressed"); }), HasSubstr("damaged"));
  EXPECT_THAT(test::error_of([&] { read_all(compress("x") + "rubbish"); }), HasSubstr("damaged"));
}

INSTANTIATE_TEST_SUITE_P(All, CompressedTest,
                         ::testing::Values(Case{"gzip", Compression::kGzip, test::gzip},
                                           Case{"zstd", Compression::kZstd, test::zstd}),
                         [](const auto& suite) { return suite.param.name; });

TEST(ByteSourceTest, ZeroPaddingAfterGzipIsIgnored) {
  const test::TempDir folder;
  test::write_bytes(folder / "padded.gz", test::gzip("text") + std::string(1000, '\0'));
  std::string buffer(100, '\0');
  EXPECT_EQ(open_bytes(folder / "padded.gz", Compression::kGzip)->read(buffer), 4U);
}

TEST(ByteSourceTest, AMissingFileIsNamed) {
  const test::TempDir folder;
  EXPECT_THAT(test::error_of([&] { open_bytes(folder / "gone.gz", Compression::kGzip); }),
              HasSubstr("gone.gz"));
}

}  // namespace
}  // namespace seer
