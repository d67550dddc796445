// Needles: where they lie, how many there are, and that a reader who follows the text finds the answer.
#include <algorithm>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tasks/haystack.h"
#include "data/tasks/ruler.h"
#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

const std::string kNumber = "[1-9][0-9]{6}";
const std::string kUuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";

struct Shape {
  std::string task;
  std::string plural;  // of the values
  std::string key;
  std::string value;
  int keys;
  int values;  // per key
  int queries;
  bool only_needles = false;

  /// For GoogleTest, which would print the bytes of the struct, padding included.
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.task; }
};

/// What a reader finds: key to values in the order of the text.
std::map<std::string, std::vector<std::string>> read_needles(const std::string& text, const Shape& shape) {
  std::map<std::string, std::vector<std::string>> found;
  for (const auto& match : find_all(text, fmt::format("One of the special magic {} for ([^:]+) is: ({})\\.",
                                                      shape.plural, shape.value)))
    found[match[1]].push_back(match[2]);
  return found;
}

/// The keys that the last line asks for: "A", or "A, B, and C".
std::vector<std::string> asked_keys(const std::string& input) {
  const auto matches = find_all(input,
                                "\nWhat (?:is|are all) the special magic \\w+ for ([^\n]+) mentioned in the "
                                "provided text\\?");
  EXPECT_EQ(matches.size(), 1U);
  std::vector<std::string> keys;
  std::string left = matches.at(0).at(1);
  for (size_t comma = left.find(", "); comma != std::string::npos; comma = left.find(", ")) {
    keys.push_back(left.substr(0, comma));
    left.erase(0, comma + 2);
    if (left.starts_with("and ")) left.erase(0, 4);
  }
  keys.push_back(left);
  return keys;
}

class Needles : public ::testing::TestWithParam<Shape> {
 protected:
  std::vector<TaskSample> samples(int64_t count, int64_t length = 4096) const {
    return make_ruler_samples(ruler_options(folder_, GetParam().task, length), nano_tokenizer(), count);
  }

  TempDir folder_;
};

TEST_P(Needles, AReaderFindsTheAnswer) {
  const Shape& shape = GetParam();
  for (const TaskSample& sample : samples(5)) {
    const auto needles = read_needles(sample.input, shape);
    const std::vector<std::string> keys = asked_keys(sample.input);
    EXPECT_EQ(keys.size(), static_cast<size_t>(shape.queries));
    std::vector<std::string> answer;
    for (const std::string& key : keys) {
      ASSERT_TRUE(needles.contains(key)) << key;
      answer.insert(answer.end(), needles.at(key).begin(), needles.at(key).end());
    }
    EXPECT_THAT(sample.outputs, UnorderedElementsAreArray(answer));
    if (shape.values == 1) {
      EXPECT_THAT(sample.outputs, ElementsAreArray(answer)) << "not in the order asked";
    }
    EXPECT_EQ(sample.tokens_to_generate, 128);
  }
}

TEST_P(Needles, HasAsManyAsAskedAllDifferent) {
  const Shape& shape = GetParam();
  for (const TaskSample& sample : samples(5)) {
    const auto needles = read_needles(sample.input, shape);
    std::set<std::string> values;
    size_t count = 0;
    for (const auto& [key, of_key] : needles) {
      EXPECT_EQ(of_key.size(), static_cast<size_t>(shape.values)) << key;
      EXPECT_FALSE(find_all(key, "^" + shape.key + "$").empty()) << key;
      values.insert(of_key.begin(), of_key.end());
      count += of_key.size();
    }
    EXPECT_EQ(values.size(), count) << "a value of two needles";
    if (shape.only_needles) {
      EXPECT_GT(needles.size(), 40U);
    } else {
      EXPECT_EQ(needles.size(), static_cast<size_t>(shape.keys));
    }
  }
}

TEST_P(Needles, SaysOneOrMany) {
  const Shape& shape = GetParam();
  const TaskSample sample = samples(1)[0];
  if (shape.values * shape.queries == 1) {
    const std::string what = shape.plural.substr(0, shape.plural.size() - 1);
    EXPECT_THAT(sample.input,
                HasSubstr(fmt::format("A special magic {0} is hidden within the following text. Make "
                                      "sure to memorize it. I will quiz you about the {0} "
                                      "afterwards.\n",
                                      what)));
    EXPECT_THAT(sample.input, HasSubstr(fmt::format("\nWhat is the special magic {} for ", what)));
    EXPECT_TRUE(sample.answer_prefix.ends_with(" mentioned in the provided text is"));
  } else {
    EXPECT_THAT(sample.input, HasSubstr(fmt::format("Some special magic {} are hidden", shape.plural)));
    EXPECT_THAT(sample.input,
                HasSubstr(fmt::format("\nWhat are all the special magic {} for ", shape.plural)));
    EXPECT_TRUE(sample.answer_prefix.ends_with(" mentioned in the provided text are"));
  }
}

TEST_P(Needles, LieAtEveryDepth) {
  // Of 60 needles at uniform depths no fifth of the text has fewer than 2 or more than 30: an event of less
  // than 1 in 1,000, and the seed is fixed.
  std::vector<int> fifths(5, 0);
  for (const TaskSample& sample : samples(60, 2000)) {
    const double depth = static_cast<double>(sample.input.find(sample.outputs[0])) /
                         static_cast<double>(sample.input.rfind("\nWhat "));
    ASSERT_GE(depth, 0.0);
    ASSERT_LE(depth, 1.0);
    ++fifths[std::min<size_t>(static_cast<size_t>(depth * 5), 4)];
  }
  for (const int count : fifths) {
    EXPECT_GE(count, 2);
    EXPECT_LE(count, 30);
  }
}

INSTANTIATE_TEST_SUITE_P(Ruler, Needles,
                         ::testing::Values(Shape{"niah_single_1", "numbers", ".+-.+", kNumber, 1, 1, 1},
                                           Shape{"niah_single_2", "numbers", ".+-.+", kNumber, 1, 1, 1},
                                           Shape{"niah_single_3", "uuids", ".+-.+", kUuid, 1, 1, 1},
                                           Shape{"niah_multikey_1", "numbers", ".+-.+", kNumber, 4, 1, 1},
                                           Shape{"niah_multikey_2", "numbers", ".+-.+", kNumber, 0, 1, 1,
                                                 true},
                                           Shape{"niah_multikey_3", "uuids", kUuid, kUuid, 0, 1, 1, true},
                                           Shape{"niah_multivalue", "numbers", ".+-.+", kNumber, 1, 4, 1},
                                           Shape{"niah_multiquery", "numbers", ".+-.+", kNumber, 4, 1, 4}),
                         [](const auto& shape) { return shape.param.task; });

TEST(Niah, EssayIsTheBeginningOfTheText) {
  const TempDir folder;
  const TaskSample sample =
      make_ruler_samples(ruler_options(folder, "niah_single_2", 4096), nano_tokenizer(), 1)[0];
  std::string text = sample.input;
  const std::string needle = find_all(text, "One of the special magic numbers for [^:]+ is: [0-9]+\\.")[0][0];
  text.erase(text.find(needle), needle.size() + 1);
  EXPECT_THAT(text, HasSubstr("afterwards.\n\u201cI dare say,\u201d replied Mrs. Weston, smiling, "));
}

TEST(Niah, ShortTextStartsOver) {
  const TempDir folder;
  write_text(folder / "short.txt", "One short sentence. And\n\n another  one, Mr. Smith.");
  RulerOptions options = ruler_options(folder, "niah_multiquery", 2048);
  options.haystack = folder / "short.txt";
  const TaskSample sample = RulerGenerator(options, nano_tokenizer()).make(0);
  EXPECT_GT(find_all(sample.input, "One short sentence\\.").size(), 50U);
  EXPECT_EQ(find_all(sample.input, "Mr\\. One of").size(), 0U) << "a needle within a sentence";
  EXPECT_EQ(read_needles(sample.input, {.plural = "numbers", .value = kNumber}).size(), 4U);
}

TEST(Haystack, RefusesWhatIsNotText) {
  const TempDir folder;
  const auto refuse = [&](const std::string& name, const std::string& content) {
    write_text(folder / name, content);
    return error_of([&] { (void)Haystack::load(folder / name, 100); });
  };
  EXPECT_THAT(refuse("empty.txt", " \n"), HasSubstr("empty.txt: no word in it"));
  EXPECT_THAT(refuse("bad.jsonl", "{\"text\": \"a\"}\n{\"txt\": 1}\n"),
              HasSubstr("bad.jsonl:2: neither `text`"));
  EXPECT_THAT(refuse("chat.jsonl", R"({"messages": [{"role": "user", "content": "a"}]})"),
              HasSubstr("chat.jsonl:1: a conversation"));
  EXPECT_THAT(error_of([&] { (void)Haystack::load(folder / "absent.txt", 100); }), HasSubstr("absent.txt"));
}

TEST(Haystack, CutsSentences) {
  const Haystack text(
      "He saw Dr. Watson. \"Go!\" said he. (So it was.) Is it 3.5 or 4? Yes, e.g. Four. The end", "here");
  EXPECT_THAT(text.sentences(text.num_words()),
              ::testing::ElementsAre("He saw Dr. Watson.", "\"Go!\" said he.", "(So it was.)",
                                     "Is it 3.5 or 4?", "Yes, e.g. Four.", "The end"));
  EXPECT_THAT(text.sentences(5), ::testing::ElementsAre("He saw Dr. Watson.", "\"Go!\""));
  EXPECT_THAT(text.sentences(text.num_words() + 2).back(), "He saw");
}

}  // namespace
}  // namespace seer::test
