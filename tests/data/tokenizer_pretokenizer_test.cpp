#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/pretokenizer.h"
#include "src/core/error.h"
#include "tests/data/tokenizer_files.h"

namespace seer {
namespace {

using testing::HasSubstr;
using Pieces = std::vector<std::string>;

Pieces split(const std::vector<std::string>& regexes, std::string_view text) {
  const PreTokenizer pre_tokenizer(regexes, "test");
  PreTokenizer::Scanner scanner(pre_tokenizer);
  scanner.start(text);
  Pieces pieces;
  for (std::string_view piece; scanner.next(piece);) pieces.emplace_back(piece);
  return pieces;
}

TEST(PreTokenizer, QwenAndGpt2Regexes) {
  EXPECT_EQ(split({kQwen2SplitRegex}, "I'LL pay  $42,\n ok"),
            (Pieces{"I", "'LL", " pay", " ", " $", "4", "2", ",\n", " ok"}));
  EXPECT_EQ(split({kGpt2SplitRegex}, "I'LL pay  $42,\n ok"),
            (Pieces{"I", "'", "LL", " pay", " ", " $", "42", ",", "\n", " ok"}));
}

TEST(PreTokenizer, TextBetweenMatchesIsAPiece) {
  EXPECT_EQ(split({"[0-9]"}, "ab1cd23"), (Pieces{"ab", "1", "cd", "2", "3"}));
  EXPECT_EQ(split({}, "whole"), (Pieces{"whole"}));
  EXPECT_EQ(split({"x"}, ""), Pieces{});
}

TEST(PreTokenizer, LaterRegexesSeeOnlyThePieceOfTheEarlier) {
  EXPECT_EQ(split({"[0-9]+", "[a-z]", "."}, "ab12-?"), (Pieces{"a", "b", "1", "2", "-", "?"}));
  EXPECT_EQ(split({"a+", "a(?!b)"}, "aab"), (Pieces{"a", "a", "b"}));
}

// U+180E was white space before Unicode 6.3, and PCRE2's \s still holds it.
TEST(PreTokenizer, WhiteSpaceIsUnicodes) {
  const std::string mongolian_separator = "\u180e";
  EXPECT_EQ(split({R"(\s+)"}, " " + mongolian_separator + "\u3000\u2009\u0085"),
            (Pieces{" ", mongolian_separator, "\u3000\u2009\u0085"}));
  EXPECT_EQ(split({R"([^\s]+)"}, " " + mongolian_separator), (Pieces{" ", mongolian_separator}));
  EXPECT_EQ(split({R"(\S)"}, " " + mongolian_separator + " "), (Pieces{" ", mongolian_separator, " "}));
  EXPECT_EQ(split({R"([\S\n]+)"}, " \n" + mongolian_separator + " "),
            (Pieces{" ", "\n" + mongolian_separator, " "}));
  EXPECT_EQ(split({R"([\s-x]+)"}, "a - xa"), (Pieces{"a", " - x", "a"})) << "the hyphen is a literal";
}

TEST(PreTokenizer, ConstructsThatTheEnginesReadDifferentlyAreRefused) {
  for (const char* regex :
       {R"(\w+)", R"(\bx)", R"(\h)", "^a", "a$", "[a[b]]", "[a&&b]", "[]a]", "[^]a]", "(?R)a", "(?i)a",
        "(?m:a)", "(?<name>a)", "a{,3}b", "a{1,3}+", "(*FAIL)", R"(a\Kb)", R"(\Qa\E)", "(?C1)a"})
    EXPECT_THAT(test::message_of([&] { translate_regex(regex, "test"); }), HasSubstr("is not supported"))
        << regex;
  for (const char* regex : {R"(\p{L}+)", R"(\p{N}{1,3})", R"([\p{L}\x{4e00}-\x{9fff}]+)",
                            R"((?i:a)(?!b)(?<=c))", R"(\$\^\.\\)", R"([$^&])"})
    EXPECT_EQ(translate_regex(regex, "test"), regex);
}

TEST(PreTokenizer, EndlessBacktrackingIsAnError) {
  const std::string message = test::message_of([] { split({"(a+)+b"}, std::string(64, 'a') + "cb"); });
  EXPECT_THAT(message, HasSubstr("(a+)+b"));
  EXPECT_THAT(message, HasSubstr("limit"));
}

// PCRE2's default limits count steps; a run of white space takes one for each byte.
TEST(PreTokenizer, LongTextDoesNotReachTheLimits) {
  const std::string spaces(20'000'000, ' ');
  EXPECT_EQ(split({kQwen2SplitRegex}, spaces).size(), 1U);
  // Too deep for the stack of the compiled code: interpreted instead.
  EXPECT_EQ(split({"(?:a|b)+c"}, std::string(500'000, 'a') + "c").size(), 1U);
}

}  // namespace
}  // namespace seer
