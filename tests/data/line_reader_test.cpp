#include "data/line_reader.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace seer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class StringSource : public ByteSource {
 public:
  explicit StringSource(std::string text) : text_(std::move(text)) {}
  size_t read(std::span<char> out) override {
    const size_t count = std::min(out.size(), text_.size() - position_);
    std::memcpy(out.data(), text_.data() + position_, count);
    position_ += count;
    return count;
  }

 private:
  std::string text_;
  size_t position_ = 0;
};

std::vector<std::string> lines_of(const std::string& text, size_t max_line_bytes = 1 << 20) {
  LineReader reader(std::make_unique<StringSource>(text), max_line_bytes);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) {
    lines.push_back(reader.too_long() ? "<too long>" : line);
    EXPECT_EQ(reader.number(), static_cast<int64_t>(lines.size()));
  }
  return lines;
}

TEST(LineReaderTest, Lines) {
  EXPECT_THAT(lines_of(""), IsEmpty());
  EXPECT_THAT(lines_of("\n"), ElementsAre(""));
  EXPECT_THAT(lines_of("a\n\nb\n"), ElementsAre("a", "", "b"));
  EXPECT_THAT(lines_of("a\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(lines_of("a\r\nb\rc\r\n\r\n"), ElementsAre("a", "b\rc", ""));
  EXPECT_THAT(lines_of("\xEF\xBB\xBF{}\n\xEF\xBB\xBFx"), ElementsAre("{}", "\xEF\xBB\xBFx"));
}

TEST(LineReaderTest, LinesAcrossBuffers) {
  std::vector<std::string> expected;
  std::string text;
  for (size_t size :
       {size_t{1}, size_t{300'000}, size_t{0}, size_t{262'143}, size_t{262'144}, size_t{700'000}}) {
    expected.emplace_back(size, static_cast<char>('a' + expected.size()));
    text += expected.back() + "\r\n";
  }
  EXPECT_EQ(lines_of(text), expected);
}

TEST(LineReaderTest, ALineOverTheLimitIsReadPast) {
  const std::string text = std::string(600'000, 'x') + "\nabcde\nabcdef\n" + std::string(9, 'y');
  EXPECT_THAT(lines_of(text, 5), ElementsAre("<too long>", "abcde", "<too long>", "<too long>"));
}

}  // namespace
}  // namespace seer
