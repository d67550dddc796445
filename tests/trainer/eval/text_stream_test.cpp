#include <gtest/gtest.h>

#include "trainer/eval/generator.h"

namespace seer {
namespace {

/// What is shown as each piece comes, then what finish() adds.
std::vector<std::string> shown(TextStream& stream, const std::vector<std::string>& pieces) {
  std::vector<std::string> out;
  for (const std::string& piece : pieces) out.emplace_back(stream.add(piece));
  if (!stream.stopped()) out.emplace_back(stream.finish());
  return out;
}

using Texts = std::vector<std::string>;

TEST(TextStream, ShowsTextAsItComes) {
  TextStream stream({});
  EXPECT_EQ(shown(stream, {"Once", " upon", "", " a"}), (Texts{"Once", " upon", "", " a", ""}));
  EXPECT_EQ(stream.text(), "Once upon a");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, WaitsForWholeCharacters) {
  TextStream stream({});
  EXPECT_EQ(shown(stream, {"a\xe2", "\x82",
                           "\xac"
                           "b\xf0\x9f",
                           "\x98", "\x80"}),
            (Texts{"a", "",
                   "\u20ac"
                   "b",
                   "", "\U0001F600", ""}));
  TextStream cut({});
  EXPECT_EQ(shown(cut, {"a\xe2\x82"}), (Texts{"a", "\xe2\x82"})) << "nothing follows: shown as it is";
}

TEST(TextStream, BytesThatAreNoCharacterHoldNothingBack) {
  TextStream stream({});
  EXPECT_EQ(shown(stream, {"\xff", "ab\xe2", "\x82", "\xac",
                           "\xe2"
                           "c",
                           "\x80\xf0\x9f"}),
            (Texts{"\xff", "ab", "", "\u20ac",
                   "\xe2"
                   "c",
                   "\x80", "\xf0\x9f"}));
}

TEST(TextStream, StopsAreNoPartOfTheText) {
  TextStream stream({"\n\nQ:"});
  EXPECT_EQ(shown(stream, {"blue", "\n", "\nQ", ": who"}), (Texts{"blue", "", "", ""}));
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.text(), "blue");
  EXPECT_EQ(stream.add("more"), "");
  EXPECT_EQ(stream.text(), "blue");
}

TEST(TextStream, ABeginningThatIsNoStopIsShownLater) {
  TextStream stream({"\n\nQ:"});
  EXPECT_EQ(shown(stream, {"a\n", "\n", "\nQ", "x", "\n"}), (Texts{"a", "", "\n", "\n\nQx", "", "\n"}));
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, TheFirstStopInTheTextCounts) {
  TextStream stream({"END", "."});
  EXPECT_EQ(shown(stream, {"One. Two END"}), (Texts{"One"}));
  TextStream overlapping({"aab"});
  EXPECT_EQ(shown(overlapping, {"a", "a", "a", "b"}), (Texts{"", "", "a", ""}));
  EXPECT_EQ(overlapping.text(), "a");
}

TEST(TextStream, AStopMayCutThroughACharactersBytes) {
  TextStream stream({"\u20ac"});
  EXPECT_EQ(shown(stream, {"5 \xe2", "\x82", "\xac."}), (Texts{"5 ", "", ""}));
  EXPECT_TRUE(stream.stopped());
}

}  // namespace
}  // namespace seer
