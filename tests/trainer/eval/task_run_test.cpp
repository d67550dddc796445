// Answers of a benchmark in their file: what is there stays, what is cut off goes, what is another's is refused.
#include "trainer/eval/task_run.h"

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
    results.add(sample_of("vt", 0), 512, "dense", {.text = "yes\xff", .density = 1}, 1.0);
    results.add(sample_of("vt", 1), 512, "dense", {.text = "no", .density = 1}, 0.0);
    results.add(sample_of("vt", 0), 512, "gate", {.text = "no", .density = 0.25}, 0.5);
  }

  TempDir folder_;
  const std::filesystem::path file_ = folder_ / "deeper/answers.jsonl";
};

void expect_filled(const TaskResults& results) {
  EXPECT_TRUE(results.has(sample_of("vt", 0), 512, "dense"));
  EXPECT_TRUE(results.has(sample_of("vt", 1), 512, "dense"));
  EXPECT_TRUE(results.has(sample_of("vt", 0), 512, "gate"));
  EXPECT_FALSE(results.has(sample_of("vt", 1), 512, "gate"));
  EXPECT_FALSE(results.has(sample_of("vt", 0), 1024, "dense"));
  EXPECT_FALSE(results.has(sample_of("cwe", 0), 512, "dense"));
  const std::vector<ScoredSample> dense = results.scores("dense", 512);
  ASSERT_EQ(dense.size(), 2U);
  EXPECT_EQ(dense[0].task, "vt");
  EXPECT_EQ(dense[0].length, 100);
  EXPECT_EQ(dense[0].score, 1.0);
  EXPECT_EQ(dense[1].score, 0.0);
  EXPECT_EQ(results.density("dense", 512), 1);
  EXPECT_EQ(results.density("gate", 512), 0.25);
  EXPECT_EQ(results.density("gate", 1024), 0);
}

TEST_F(TaskResultsFile, AnswersStayAnswered) {
  fill();
  const std::string before = text();
  expect_filled(open());
  EXPECT_EQ(text(), before) << "reading changes nothing";
  open().add(sample_of("cwe", 3), 512, "gate", {.text = "x"}, 0.0);
  EXPECT_TRUE(text().starts_with(before));
  EXPECT_TRUE(open().has(sample_of("cwe", 3), 512, "gate"));
}

TEST_F(TaskResultsFile, ACutOffLineIsDropped) {
  fill();
  const std::string whole = text();
  const size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (const size_t size : {whole.size() - 1, last + 1}) {
    write_file_atomically(file_, whole.substr(0, size));
    const TaskResults results = open();
    EXPECT_TRUE(results.has(sample_of("vt", 1), 512, "dense"));
    EXPECT_FALSE(results.has(sample_of("vt", 0), 512, "gate"));
    EXPECT_EQ(text(), whole.substr(0, last));
  }
}

TEST_F(TaskResultsFile, ACutOffHeaderIsBegunAgain) {
  (void)open();
  const std::string header = text();
  for (const size_t size : {header.size() - 1, size_t{1}, size_t{0}}) {
    write_file_atomically(file_, header.substr(0, size));
    EXPECT_FALSE(open().has(sample_of("vt", 0), 512, "dense"));
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
  EXPECT_THAT(with("{\"contender\":"), AllOf(HasSubstr(":2:"), HasSubstr("no line of task results")));
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
  {
    TaskResults results(folder / "answers", "ruler", kSettings);
    run_tasks(model, generator, contenders, std::span(samples).first(2), 64, results);
    EXPECT_EQ(results.scores("again", 64).size(), 2U);
  }
  const std::string two = text();
  TaskResults results(folder / "answers", "ruler", kSettings);
  run_tasks(model, generator, contenders, std::span(samples).first(2), 64, results);
  EXPECT_EQ(text(), two) << "nothing was left to do";
  run_tasks(model, generator, contenders, samples, 64, results);
  EXPECT_TRUE(text().starts_with(two));
  EXPECT_EQ(results.scores("dense", 64).size(), 3U);
  EXPECT_EQ(results.scores("again", 64).size(), 3U);
}

}  // namespace
}  // namespace seer::test
