// Answers of a benchmark in their file: what is there stays, what is cut off goes, what is another's is refused.
#include "trainer/eval/task_run.h"

#include <csignal>
#include <regex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"
#include "tests/trainer/eval/eval_files.h"

namespace seer::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kSettings = R"({"model":"m","density":0.1})";

TaskSample sample_of(const std::string& task, int64_t index) {
  return {.task = task, .index = index, .input = "q", .outputs = {"a"}, .length = 100 + index};
}

class TaskResultsFile : public testing::Test {
 protected:
  TaskResults open(const std::string& settings = kSettings, const std::string& benchmark = "ruler") const {
    return {file_, benchmark, settings};
  }
  std::string text() const { return read_text_file(file_); }
  /// The refusal of what the file holds now, which must be as before then.
  Error refusal(const std::string& settings = kSettings, const std::string& benchmark = "ruler") const {
    const std::string before = text();
    const Error error = error_of([&] { (void)open(settings, benchmark); });
    EXPECT_EQ(text(), before) << "a refused file was changed";
    EXPECT_THAT(error.what(), HasSubstr(file_.string()));
    return error;
  }
  void fill() const {
    TaskResults results = open();
    results.add(sample_of("vt", 0), 512, "dense", 7, {.text = "yes\xff", .density = 1}, 1.0);
    results.add(sample_of("vt", 1), 512, "dense", 8, {.text = "no", .density = 1}, 0.0);
    results.add(sample_of("vt", 0), 512, "gate", 7, {.text = "no", .density = 0.25}, 0.5);
  }

  TempDir folder_;
  const std::filesystem::path file_ = folder_ / "deeper/answers.jsonl";
};

bool has(const TaskResults& results, const TaskSample& sample, const std::string& contender,
         int64_t size = 512) {
  return results.find(sample, size, contender) != nullptr;
}

void expect_filled(const TaskResults& results) {
  EXPECT_TRUE(has(results, sample_of("vt", 1), "dense"));
  EXPECT_FALSE(has(results, sample_of("vt", 1), "gate"));
  EXPECT_FALSE(has(results, sample_of("vt", 0), "dense", 1024));
  EXPECT_FALSE(has(results, sample_of("cwe", 0), "dense"));
  const TaskResults::Answer* dense = results.find(sample_of("vt", 0), 512, "dense");
  ASSERT_NE(dense, nullptr);
  EXPECT_EQ(dense->prediction, "yes\xef\xbf\xbd") << "what is not UTF-8 is U+FFFD";
  EXPECT_EQ(dense->density, 1);
  EXPECT_EQ(dense->prompt, 7U);
  ASSERT_TRUE(has(results, sample_of("vt", 0), "gate"));
  EXPECT_EQ(results.find(sample_of("vt", 0), 512, "gate")->density, 0.25);
}

TEST_F(TaskResultsFile, AnswersStayAnswered) {
  fill();
  const std::string before = text();
  expect_filled(open());
  EXPECT_EQ(text(), before) << "reading changes nothing";
  open().add(sample_of("cwe", 3), 512, "gate", 9, {.text = "x"}, 0.0);
  EXPECT_TRUE(text().starts_with(before));
  EXPECT_TRUE(has(open(), sample_of("cwe", 3), "gate"));
}

TEST_F(TaskResultsFile, ACutOffLineIsDropped) {
  fill();
  const std::string whole = text();
  const size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (const size_t size : {whole.size() - 1, last + 1}) {
    write_file_atomically(file_, whole.substr(0, size));
    const TaskResults results = open();
    EXPECT_TRUE(has(results, sample_of("vt", 1), "dense"));
    EXPECT_FALSE(has(results, sample_of("vt", 0), "gate"));
    EXPECT_EQ(text(), whole.substr(0, last));
  }
}

TEST_F(TaskResultsFile, ACutOffHeaderIsBegunAgain) {
  (void)open();
  const std::string header = text();
  for (const size_t size : {header.size() - 1, size_t{1}, size_t{0}}) {
    write_file_atomically(file_, header.substr(0, size));
    EXPECT_FALSE(has(open(), sample_of("vt", 0), "dense"));
    EXPECT_EQ(text(), header);
  }
}

TEST_F(TaskResultsFile, OtherSettingsAreRefusedByKey) {
  fill();
  const Error other = refusal(R"({"model":"m","density":0.2})");
  EXPECT_EQ(other.kind(), ErrorKind::kUsage);
  EXPECT_THAT(other.what(), HasSubstr("density was 0.1, now 0.2"));
  EXPECT_THAT(refusal(R"({"model":"m","density":0.1,"seed":1})").what(), HasSubstr("seed was not set"));
  EXPECT_THAT(refusal(R"({"model":"m"})").what(), HasSubstr("a key was set that is not now"));
  EXPECT_THAT(refusal(kSettings, "longbench").what(), HasSubstr("other results"));
}

TEST_F(TaskResultsFile, DamageIsNamedByLine) {
  fill();
  const std::string whole = text();
  const size_t second = whole.find('\n') + 1;
  const auto with = [&](const std::string& line) {
    write_file_atomically(file_, whole.substr(0, second) + line + "\n" + whole.substr(second));
    return std::string(refusal().what());
  };
  EXPECT_THAT(with("{\"contender\":"),
              AllOf(HasSubstr(":2:"), HasSubstr("no line of task results"), HasSubstr("not JSON")));
  EXPECT_THAT(with("[]"), HasSubstr(":2:"));
  EXPECT_THAT(with(R"({"contender":"dense","size":512,"task":"vt","index":"one"})"), HasSubstr(":2:"));
  EXPECT_THAT(with(""), HasSubstr(":2:"));
}

TEST_F(TaskResultsFile, AFileOfAnotherKindIsLeftAlone) {
  std::filesystem::create_directories(file_.parent_path());
  for (const char* other : {"my notes", "my notes\nno line end", "{\"kind\":\"perplexity\"}\n{", "[1]\n"}) {
    write_file_atomically(file_, other);
    (void)refusal();
  }
}

TEST_F(TaskResultsFile, HasOneWriter) {
  fill();
  {
    const TaskResults first = open();
    EXPECT_THAT(refusal().what(), HasSubstr("another process"));
  }
  expect_filled(open());
}

TEST_F(TaskResultsFile, OfAnotherVersionIsRefused) {
  std::filesystem::create_directories(file_.parent_path());
  write_file_atomically(file_, R"({"kind":"tasks","version":1,"benchmark":"ruler","settings":{}})"
                               "\n");
  EXPECT_THAT(refusal().what(), HasSubstr("format 1, not 2"));
}

TEST(RunTasks, AnswersWhatIsMissingAndNothingElse) {
  const TempDir folder;
  EvalModel model(on_one_thread(nano_model()), 64);
  Generator generator(model, {});
  const std::vector<Contender> contenders = {{"dense", {}}, {"again", {}}};
  std::vector<TaskSample> samples;
  for (int64_t i = 0; i < 3; ++i) {
    samples.push_back(sample_of("vt", i));
    samples.back().input = "Once there was a king who had";
    samples.back().tokens_to_generate = 3;
  }
  const auto text = [&] { return read_text_file(folder / "answers"); };
  const StopSignal stop(0, "answer");
  const auto answer = [&](std::span<const TaskSample> asked) {
    TaskResults results(folder / "answers", "ruler", kSettings);
    std::vector<ContenderScores> scores(contenders.size());
    EXPECT_TRUE(run_tasks(model, generator, contenders, asked, 64, results, scores, stop));
    return scores;
  };
  const std::vector<ContenderScores> first = answer(std::span(samples).first(2));
  EXPECT_EQ(first[0].samples.size(), 2U);
  EXPECT_EQ(first[1].samples.size(), 2U);
  EXPECT_EQ(first[1].mean_density(), 1);
  const std::string two = text();
  (void)answer(std::span(samples).first(2));
  EXPECT_EQ(text(), two) << "nothing was left to do";
  const std::vector<ContenderScores> all = answer(samples);
  ASSERT_EQ(all[0].samples.size(), 3U);
  const std::string three = text();
  EXPECT_TRUE(three.starts_with(two));
  // Of what the file holds only what was asked for counts, and by the prediction, not the score beside it.
  write_file_atomically(folder / "answers",
                        std::regex_replace(three, std::regex("\"score\":[0-9.]+"), "\"score\":0.25"));
  const std::vector<ContenderScores> last = answer(std::span(samples).last(1));
  ASSERT_EQ(last[0].samples.size(), 1U);
  EXPECT_EQ(last[0].samples[0].score, all[0].samples[2].score);

  samples[1].input = "Once there was a queen who had";  // under the same name, with the same answer
  const Error error = error_of([&] { (void)answer(samples); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("sample 1 of vt"), HasSubstr("another prompt")));
}

TEST(RunTasks, StopsBetweenTwoAnswers) {
  const TempDir folder;
  EvalModel model(on_one_thread(nano_model()), 64);
  Generator generator(model, {});
  const std::vector<Contender> contenders = {{"dense", {}}};
  std::vector<TaskSample> samples = {sample_of("vt", 0)};
  samples[0].tokens_to_generate = 1;
  TaskResults results(folder / "answers", "ruler", kSettings);
  std::vector<ContenderScores> scores(1);
  const StopSignal stop(0, "answer");
  EXPECT_TRUE(run_tasks(model, generator, contenders, samples, 64, results, scores, stop));
  std::raise(SIGTERM);
  scores.assign(1, {});
  EXPECT_TRUE(run_tasks(model, generator, contenders, samples, 64, results, scores, stop))
      << "all is answered";
  samples.push_back(sample_of("vt", 1));
  scores.assign(1, {});
  EXPECT_FALSE(run_tasks(model, generator, contenders, samples, 64, results, scores, stop));
  EXPECT_EQ(scores[0].samples.size(), 1U);
}

TEST(AnswerOptions, ALineBreakEndsAnAnswerThatAsksForIt) {
  const Tokenizer tokenizer(nano_model());
  const auto line_break = tokenizer.token_to_id("\n");
  ASSERT_TRUE(line_break.has_value());
  TaskSample sample = sample_of("samsum", 0);
  sample.tokens_to_generate = 5;
  const GenerateOptions plain = answer_options(sample, tokenizer, {4091});
  EXPECT_EQ(plain.max_new_tokens, 5);
  EXPECT_EQ(plain.stop_ids, std::vector<int32_t>{4091});
  EXPECT_TRUE(plain.banned_first.empty());
  sample.stop_at_newline = true;
  const GenerateOptions line = answer_options(sample, tokenizer, {4091});
  EXPECT_EQ(line.stop_ids, (std::vector<int32_t>{4091, *line_break}));
  EXPECT_EQ(line.banned_first, line.stop_ids);
}

}  // namespace
}  // namespace seer::test
