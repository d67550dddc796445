// The parts that tasks are made of: words, random strings, fitting, text.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tasks/fit.h"
#include "data/tasks/random_text.h"
#include "data/tasks/text.h"
#include "data/tasks/words.h"
#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Words, AreTheListsOfWonderwords) {
  EXPECT_EQ(nouns().size(), 6782U);
  EXPECT_EQ(adjectives().size(), 910U);  // 912 lines, two of them twice
  EXPECT_TRUE(std::is_sorted(all_words().begin(), all_words().end()));
  for (const char* word : {"contact lens", "jalape\u00f1o", "nasty", "abide"})
    EXPECT_TRUE(std::binary_search(all_words().begin(), all_words().end(), std::string_view(word))) << word;
  Rng rng(1);
  std::set<std::string> pairs;
  for (int i = 0; i < 1000; ++i) pairs.insert(random_word_pair(rng));
  EXPECT_GT(pairs.size(), 995U);
}

TEST(RandomText, HasTheFormsThatItShould) {
  Rng rng(2);
  std::set<char> first, last, letters, variants;
  for (int i = 0; i < 500; ++i) {
    const std::string number = random_number(rng, 7);
    EXPECT_EQ(number.size(), 7U);
    first.insert(number.front());
    last.insert(number.back());
    const std::string uuid = random_uuid(rng);
    EXPECT_FALSE(
        find_all(uuid, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").empty())
        << uuid;
    variants.insert(uuid[19]);
    for (const char c : random_letters(rng, 5, 'A')) letters.insert(c);
  }
  EXPECT_EQ(first.size(), 9U);
  EXPECT_EQ(last.size(), 10U);
  EXPECT_EQ(variants.size(), 4U);
  EXPECT_EQ(letters.size(), 26U);
  EXPECT_EQ(*letters.begin(), 'A');
}

TEST(RandomText, ChoosesDifferentOnes) {
  Rng rng(3);
  std::vector<int> first(5, 0);
  for (int i = 0; i < 1000; ++i) {
    const std::vector<int64_t> chosen = choose(rng, 3, 5);
    EXPECT_EQ(std::set<int64_t>(chosen.begin(), chosen.end()).size(), 3U);
    ++first[static_cast<size_t>(chosen[0])];
  }
  for (const int count : first) EXPECT_NEAR(count, 200, 60);  // 4.7 standard deviations
  EXPECT_EQ(choose(rng, 5, 5).size(), 5U);
}

TEST(Fit, FindsTheLargest) {
  for (const int64_t limit : {int64_t{100}, int64_t{101}, int64_t{4096}, int64_t{100000}}) {
    int calls = 0;
    const auto tokens = [&](int64_t size) {
      ++calls;
      return 60 + 25 * size + static_cast<int64_t>(std::sqrt(static_cast<double>(size)));
    };
    const Fit fit = largest_that_fits(1, 1'000'000, limit, tokens);
    EXPECT_EQ(fit.tokens, tokens(fit.size));
    EXPECT_LE(fit.tokens, limit);
    EXPECT_TRUE(tokens(fit.size + 1) > limit || (limit - fit.tokens) * 512 < limit) << fit.size;
    EXPECT_LE(calls, 22);
  }
}

TEST(Fit, StopsAtTheEnds) {
  const auto tokens = [](int64_t size) { return 10 * size; };
  EXPECT_EQ(largest_that_fits(3, 7, 1000, tokens).size, 7);
  const Fit nothing = largest_that_fits(3, 7, 20, tokens);
  EXPECT_EQ(nothing.size, 3);
  EXPECT_EQ(nothing.tokens, 30);
}

TEST(Fit, FitsWhereTheCountIsNotMonotone) {
  const auto tokens = [](int64_t size) { return 3 * size + (size * 7919 % 13); };
  for (int64_t limit = 20; limit < 400; ++limit) {
    const Fit fit = largest_that_fits(1, 1000, limit, tokens);
    EXPECT_LE(fit.tokens, limit);
    EXPECT_GE(fit.tokens, limit - 20);
  }
}

TEST(Text, SplitsAndLowersAsPython) {
  EXPECT_THAT(split_white_space("\u3000a\tb\u2003 c\x1f"), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(split_white_space(" \n").empty());
  EXPECT_EQ(lower_case("\u00c4B\u03a3 \u1e9e"), "\u00e4b\u03c3 \u00df");
}

TEST(Text, ReplacesWhatIsNoCharacter) {
  EXPECT_EQ(valid_text("a\xe2\x82"), "a\ufffd");                  // cut off: one
  EXPECT_EQ(valid_text("\x98\x80z"), "\ufffd\ufffdz");            // left over: one each
  EXPECT_EQ(valid_text("\xf0\x9f\x98\xf0\x9f"), "\ufffd\ufffd");  // two cut off
  EXPECT_EQ(valid_text("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");    // a surrogate is no character's beginning
  EXPECT_EQ(valid_text("\xc0\xaf\xff"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(valid_text("gut \u00e9"), "gut \u00e9");
}

}  // namespace
}  // namespace seer::test
