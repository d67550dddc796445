// vt, cwe, fwe and qa: small solvers that read the prompt reach the expected answer.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tasks/question_answering.h"
#include "data/tasks/ruler.h"
#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

std::vector<TaskSample> samples(const std::string& task, int64_t length, int64_t count = 4) {
  const TempDir folder;
  return make_ruler_samples(ruler_options(folder, task, length), nano_tokenizer(), count);
}

/// Runs the assignments of a text and returns the variables that hold `value` at its end, in their order.
std::vector<std::string> run_assignments(const std::string& text, const std::string& value) {
  std::map<std::string, std::string> values;
  std::vector<std::string> holders;
  for (const auto& line : find_all(text, "VAR ([A-Z]+) = (VAR )?([A-Z0-9]+)")) {
    const std::string& source = line[3];
    EXPECT_TRUE(line[2].empty() || values.contains(source)) << source << " is read before it is assigned";
    values[line[1]] = line[2].empty() ? source : values[source];
    if (values[line[1]] == value) holders.push_back(line[1]);
  }
  return holders;
}

TEST(VariableTracking, AnInterpreterFindsTheVariables) {
  for (const TaskSample& sample : samples("vt", 4096)) {
    const auto questions =
        find_all(sample.input, "Find all variables that are assigned the value ([0-9]{5}) in");
    ASSERT_EQ(questions.size(), 2U);  // the example's and the sample's
    const std::string value = questions[1][1];
    EXPECT_THAT(run_assignments(sample.input, value), ElementsAreArray(sample.outputs));
    EXPECT_EQ(sample.outputs.size(), 5U);
    for (const std::string& name : sample.outputs) EXPECT_EQ(name.size(), 5U);
    EXPECT_EQ(sample.answer_prefix,
              fmt::format(
                  " Answer: According to the chain(s) of variable assignment in the text above, 5 variables "
                  "are assigned the value {}, they are: ",
                  value));
    EXPECT_EQ(sample.tokens_to_generate, 30);
  }
}

TEST(VariableTracking, TheExampleIsSolvedRight) {
  for (const TaskSample& sample : samples("vt", 4096)) {
    const size_t question = sample.input.rfind("Memorize and track");
    const std::string example = sample.input.substr(0, question);
    const auto solved =
        find_all(example, "assigned the value ([0-9]{5}), they are:  ((?:[A-Z]{3} ?){5})\n\n$");
    ASSERT_EQ(solved.size(), 1U) << example;
    std::string names;
    for (const std::string& name : run_assignments(example, solved[0][1]))
      names += (names.empty() ? "" : " ") + name;
    EXPECT_EQ(solved[0][2], names);
    const auto tokens =
        nano_tokenizer().encode(example.substr(example.find("Memorize")), {.add_special_tokens = false});
    EXPECT_LE(tokens.size(), 520U);
    EXPECT_GE(tokens.size(), 440U);
  }
}

TEST(VariableTracking, HidesTheChainInNoise) {
  const TaskSample sample = samples("vt", 4096, 1)[0];
  const size_t question = sample.input.rfind("Memorize and track");
  size_t noise = 0;
  size_t assignments = 0;
  for (const std::string& line : lines_of(sample.input.substr(question))) {
    noise += line.starts_with("The grass is green. The sky is blue.") ? 1 : 0;
    assignments += line.starts_with("VAR ") ? 1 : 0;
  }
  EXPECT_EQ(assignments, 5U);
  EXPECT_GT(noise, 80U);
}

/// What stands between each `before` and the next `after` (a regular expression would overflow the stack).
std::vector<std::string> between(const std::string& text, const std::string& before,
                                 const std::string& after) {
  std::vector<std::string> parts;
  for (size_t at = text.find(before); at != std::string::npos; at = text.find(before, at)) {
    at += before.size();
    parts.push_back(text.substr(at, text.find(after, at) - at));
  }
  return parts;
}

/// How often each word of a numbered list comes; checks the numbers.
std::map<std::string, int> count_numbered(const std::string& list) {
  std::map<std::string, int> counts;
  size_t number = 1;
  size_t at = 0;
  while (at < list.size()) {
    const std::string label = fmt::format("{}. ", number);
    EXPECT_EQ(list.compare(at, label.size(), label), 0) << "at " << number;
    at += label.size();
    const size_t next = std::min(list.find(fmt::format(" {}. ", number + 1), at), list.size());
    ++counts[list.substr(at, next - at)];
    at = next + 1;
    ++number;
  }
  return counts;
}

void expect_counts(const TaskSample& sample, int common, int others, int example_common, int example_others) {
  const std::vector<std::string> lists =
      between(sample.input, "appear most often.\n", "\nQuestion: What are the 10 most common");
  ASSERT_EQ(lists.size(), 2U);
  std::vector<std::vector<std::string>> most_common(2);
  for (size_t i = 0; i < 2; ++i) {
    for (const auto& [word, count] : count_numbered(lists[i])) {
      const int expected = i == 0 ? example_common : common;
      const int rest = i == 0 ? example_others : others;
      EXPECT_TRUE(count == expected || count == rest) << word << " comes " << count << " times";
      if (count == expected) most_common[i].push_back(word);
    }
  }
  EXPECT_THAT(sample.outputs, UnorderedElementsAreArray(most_common[1]));
  // The example's answer, behind the prefix that the sample has too.
  const size_t answer = sample.input.find(sample.answer_prefix) + sample.answer_prefix.size() + 1;
  std::vector<std::string> named;
  for (const auto& [word, count] :
       count_numbered(sample.input.substr(answer, sample.input.find('\n', answer) - answer)))
    named.push_back(word);
  EXPECT_THAT(named, UnorderedElementsAreArray(most_common[0]));
}

TEST(CommonWords, CountingFindsTheTen) {
  for (const TaskSample& sample : samples("cwe", 4096)) expect_counts(sample, 30, 3, 10, 3);
}

TEST(CommonWords, HasFewerRepetitionsBelow4096) {
  for (const TaskSample& sample : samples("cwe", 2048)) expect_counts(sample, 6, 1, 3, 1);
}

TEST(CommonWords, TheExampleIsATurnOfItsOwn) {
  const TaskSample sample = samples("cwe", 4096, 1)[0];
  EXPECT_EQ(find_all(sample.input, "<\\|begin_of_text\\|><\\|start_header_id\\|>user").size(), 2U);
  EXPECT_EQ(find_all(sample.input,
                     "assistant<\\|end_header_id\\|>\n\n Answer: The top 10 words that appear most "
                     "often in the list are: 1\\. ")
                .size(),
            1U);
}

TEST(CommonWords, GoesOnWhereTheListOfWordsEnds) {
  const TaskSample sample = samples("cwe", 300000, 1)[0];
  const std::vector<std::string> lists = between(sample.input, "appear most often.\n", "\nQuestion");
  EXPECT_GT(count_numbered(lists.at(1)).size(), 8800U);
  EXPECT_GT(sample.length, 290000);
}

TEST(FrequentWords, CountingFindsTheThree) {
  for (const int64_t length : {int64_t{1024}, int64_t{4096}, int64_t{16384}}) {
    for (const TaskSample& sample : samples("fwe", length)) {
      const std::vector<std::string> text = between(sample.input, "coded words. ", "\nQuestion");
      ASSERT_EQ(text.size(), 1U);
      std::map<std::string, int> counts;
      for (const auto& word : find_all(text[0], "[^ ]+")) ++counts[word[0]];
      std::vector<std::pair<int, std::string>> ranked;
      for (const auto& [word, count] : counts) ranked.emplace_back(count, word);
      std::sort(ranked.rbegin(), ranked.rend());
      ASSERT_GT(ranked.size(), 4U);
      EXPECT_EQ(ranked[0].second, "...");
      EXPECT_THAT(sample.outputs,
                  ::testing::ElementsAre(ranked[1].second, ranked[2].second, ranked[3].second));
      EXPECT_GT(ranked[3].first, ranked[4].first);
      // Zeta with exponent 2: four times as many dots as of the first word, 9/4 as many of it as of the second.
      EXPECT_NEAR(static_cast<double>(ranked[0].first) / ranked[1].first, 4.0, 0.4);
      EXPECT_NEAR(static_cast<double>(ranked[1].first) / ranked[2].first, 2.25, 0.4);
      for (const std::string& word : sample.outputs)
        EXPECT_TRUE(!find_all(word, "^[a-z]{6}$").empty()) << word;
    }
  }
}

TEST(QuestionAnswering, ShowsItsOwnDocumentAndRelatedOnes) {
  for (const TaskSample& sample : samples("qa_1", 1024)) {
    const auto asked =
        find_all(sample.input, "\n\nQuestion: Which fact does subject ([0-9]) of article ([0-9]) hold\\?");
    ASSERT_EQ(asked.size(), 1U);
    EXPECT_EQ(sample.outputs[0], fmt::format("Fact {}.{}", asked[0][2], asked[0][1]));
    EXPECT_EQ(sample.metric, Metric::kMatchPart);
    EXPECT_EQ(sample.answer_prefix, " Answer:");
    // About eight documents fit: all five of the article are among them, numbered from 1.
    const auto documents =
        find_all(sample.input, "Document ([0-9]+):\nSentence 0 about subject [0-9] of article ([0-9])");
    int64_t related = 0;
    for (size_t i = 0; i < documents.size(); ++i) {
      EXPECT_EQ(documents[i][1], std::to_string(i + 1));
      related += documents[i][2] == asked[0][2] ? 1 : 0;
    }
    EXPECT_EQ(related, 5);
    EXPECT_GT(documents.size(), 5U);
  }
}

TEST(QuestionAnswering, LeavesOutImpossibleQuestionsAndEndsWithTheLast) {
  const TempDir folder;
  const RulerGenerator generator(ruler_options(folder, "qa_1", 2048), nano_tokenizer());
  EXPECT_NO_THROW((void)generator.make(19));  // 30 questions, every third impossible
  EXPECT_THAT(error_of([&] { (void)generator.make(20); }),
              HasSubstr("squad.json has 20 questions with answers: there is no sample 20"));
}

TEST(QuestionAnswering, HotpotShowsTheDocumentsOfTheQuestion) {
  for (const TaskSample& sample : samples("qa_2", 2048)) {
    EXPECT_THAT(sample.outputs, ElementsAreArray({fmt::format("Fact {}.0", sample.index)}));
    for (int p = 0; p < 5; ++p)
      EXPECT_THAT(sample.input,
                  HasSubstr(fmt::format(":\nTitle {}.{}\nFirst sentence. Sentence 0", sample.index, p)));
  }
}

TEST(QuestionAnswering, StartsOverPastTheLastDocument) {
  const TaskSample sample = samples("qa_1", 8192, 1)[0];
  EXPECT_GT(find_all(sample.input, "Document [0-9]+:\n").size(), 60U);  // of 30
}

TEST(QuestionAnswering, RefusesOtherFiles) {
  const TempDir folder;
  const auto refuse = [&](const std::string& content) {
    write_text(folder / "file.json", content);
    return error_of([&] { (void)read_squad(folder / "file.json"); });
  };
  EXPECT_THAT(refuse("{"), HasSubstr("file.json: not valid JSON"));
  EXPECT_THAT(refuse("{}"), HasSubstr("file.json: entry 0 is not as in SQuAD 2.0: "));
  EXPECT_THAT(refuse(R"({"data": [{"paragraphs": [{"context": 3}]}]})"), HasSubstr("type must be string"));
  EXPECT_THAT(refuse(R"({"data": []})"), HasSubstr("there is no question"));
  write_text(folder / "hotpot.json", R"([{"question": "q", "answer": "a"}])");
  EXPECT_THAT(error_of([&] { (void)read_hotpotqa(folder / "hotpot.json"); }),
              HasSubstr("hotpot.json: entry 0 is not as in HotpotQA: "));
  EXPECT_THAT(error_of([&] { (void)read_squad(folder / "absent.json"); }), HasSubstr("absent.json"));
}

}  // namespace
}  // namespace seer::test
