// What holds for every RULER task: it fits, fills its length, is its seed's alone, and its answers score.
#include "data/tasks/ruler.h"

#include <set>
#include <string>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tasks/string_match.h"
#include "src/core/error.h"
#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

using ::testing::HasSubstr;

double match(const TaskSample& sample, const std::string& prediction) {
  return sample.metric == Metric::kMatchAll ? string_match_all(prediction, sample.outputs)
                                            : string_match_part(prediction, sample.outputs);
}

std::string right_answer(const TaskSample& sample) {
  std::string answer;
  for (const std::string& output : sample.outputs) answer += " " + output + ",";
  return answer;
}

class EveryTask : public ::testing::TestWithParam<std::string> {
 protected:
  RulerOptions options(int64_t length) const { return ruler_options(folder_, GetParam(), length); }

  TempDir folder_;
};

TEST_P(EveryTask, FillsItsLengthAndNoMore) {
  // The length that the nano model has, a short one, and one that needs more haystack than there is text of
  // some documents.
  for (const int64_t length : {int64_t{3000}, int64_t{4096}, int64_t{16384}}) {
    const RulerGenerator generator(options(length), nano_tokenizer());
    for (int64_t i = 0; i < 3; ++i) {
      const TaskSample sample = generator.make(i);
      const auto tokens = static_cast<int64_t>(encode_prompt(nano_tokenizer(), sample.prompt()).size());
      EXPECT_EQ(sample.length, tokens + sample.tokens_to_generate);
      EXPECT_LE(sample.length, length);
      EXPECT_GE(sample.length, length - length / 25) << "sample " << i;
    }
  }
}

TEST_P(EveryTask, DependsOnSeedLengthAndIndexAlone) {
  const RulerGenerator one(options(4096), nano_tokenizer());
  const RulerGenerator other(options(4096), nano_tokenizer());
  const TaskSample third = one.make(2);
  for (int64_t i = 0; i < 2; ++i) (void)other.make(i);
  EXPECT_EQ(third.prompt(), other.make(2).prompt());
  EXPECT_EQ(third.outputs, other.make(2).outputs);
  EXPECT_NE(third.prompt(), one.make(3).prompt());

  RulerOptions reseeded = options(4096);
  reseeded.seed = 43;
  EXPECT_NE(third.prompt(), RulerGenerator(reseeded, nano_tokenizer()).make(2).prompt());
}

TEST_P(EveryTask, TheAnswerScoresAndTheQuestionDoesNotGiveItAway) {
  const auto samples = make_ruler_samples(options(4096), nano_tokenizer(), 4);
  ASSERT_EQ(samples.size(), 4U);
  for (size_t i = 0; i < samples.size(); ++i) {
    const TaskSample& sample = samples[i];
    EXPECT_EQ(sample.task, GetParam());
    EXPECT_EQ(sample.index, static_cast<int64_t>(i));
    EXPECT_EQ(std::set(sample.outputs.begin(), sample.outputs.end()).size(), sample.outputs.size());
    EXPECT_EQ(match(sample, right_answer(sample)), 1.0);
    EXPECT_EQ(match(sample, ""), 0.0);
    EXPECT_LE(match(sample, sample.answer_prefix), 0.2);  // not 0: "list" may be one of cwe's words
    // Another sample's answer is wrong here.
    EXPECT_LT(match(sample, right_answer(samples[(i + 1) % samples.size()])), 1.0);
    // What the answer is found in.
    for (const std::string& output : sample.outputs) EXPECT_THAT(sample.input, HasSubstr(output));
  }
}

TEST_P(EveryTask, TemplateSurroundsTheQuestion) {
  RulerOptions base = options(4096);
  base.prompt_template = PromptTemplate::kBase;
  const TaskSample plain = RulerGenerator(base, nano_tokenizer()).make(0);
  EXPECT_EQ(plain.input.find("<|"), std::string::npos);
  EXPECT_EQ(plain.answer_prefix.front(), ' ');

  RulerOptions spaced = options(4096);
  spaced.prompt_template = PromptTemplate::kLlama3Spaced;
  const TaskSample sample = RulerGenerator(spaced, nano_tokenizer()).make(0);
  EXPECT_TRUE(sample.input.starts_with("<|start_header_id|>user<|end_header_id|> "));
  EXPECT_TRUE(sample.input.ends_with("<|eot_id|><|start_header_id|>assistant<|end_header_id|>"));
  const auto ids = encode_prompt(nano_tokenizer(), sample.prompt());
  EXPECT_EQ(ids[0], nano_tokenizer().bos_id());
  EXPECT_EQ(ids[1], nano_tokenizer().token_to_id("<|start_header_id|>"));
}

TEST_P(EveryTask, RefusesALengthThatIsTooShort) {
  const RulerGenerator generator(options(200), nano_tokenizer());
  const std::string message = error_of([&] { (void)generator.make(0); });
  EXPECT_THAT(message, HasSubstr("of " + GetParam() + " does not fit in 200 tokens"));
  // What it says to ask for is about right: another length draws other words, so a little more is asked for.
  const int64_t enough = std::stoll(message.substr(message.rfind("length of ") + 10));
  EXPECT_GT(enough, 200);
  EXPECT_NO_THROW((void)RulerGenerator(options(enough + enough / 5), nano_tokenizer()).make(0));
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const RulerTask& task : ruler_tasks()) names.emplace_back(task.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Ruler, EveryTask, ::testing::ValuesIn(task_names()),
                         [](const auto& task) { return task.param; });

TEST(Ruler, HasThirteenTasks) {
  EXPECT_EQ(ruler_tasks().size(), 13U);
  EXPECT_THAT(error_of([] { (void)ruler_task("niah_single_4"); }),
              HasSubstr("no RULER task \"niah_single_4\"; there are niah_single_1, "));
}

TEST(Ruler, SaysWhichFileATaskNeeds) {
  const auto refuse = [](const std::string& task) {
    return error_of([&] { RulerGenerator({.task = task}, nano_tokenizer()); });
  };
  EXPECT_THAT(refuse("niah_single_2"), HasSubstr("name a .txt or .jsonl file of free books"));
  EXPECT_THAT(refuse("qa_1"), HasSubstr("dev-v2.0.json"));
  EXPECT_THAT(refuse("qa_2"), HasSubstr("hotpot_dev_distractor_v1.json"));
  for (const char* task : {"niah_single_1", "niah_multikey_2", "niah_multikey_3", "vt", "cwe", "fwe"})
    EXPECT_EQ(refuse(task), "") << task;
}

TEST(Ruler, RefusesALengthWithoutAPrompt) {
  EXPECT_THAT(error_of([] { RulerGenerator({.task = "vt", .length = 30}, nano_tokenizer()); }),
              HasSubstr("leaves nothing for its prompt"));
}

TEST(Ruler, SaysWhatTheHaystackIs) {
  const TempDir folder;
  const auto haystack = [&](const std::string& task) {
    return RulerGenerator(ruler_options(folder, task, 4096), nano_tokenizer()).make(0).haystack;
  };
  EXPECT_EQ(haystack("niah_single_1"), "noise");
  EXPECT_EQ(haystack("niah_single_2"), "text of heldout.jsonl.zst in place of RULER's essays");
  EXPECT_EQ(haystack("niah_multikey_3"), "needles");
  EXPECT_EQ(haystack("qa_1"), "documents of squad.json");
}

}  // namespace
}  // namespace seer::test
