// Whole trainings on several GPUs through NCCL, started as users start them. Skipped where there are fewer than two GPUs.
#include <cmath>
#include <csignal>

#include <gmock/gmock.h>

#include "cuda/cuda_backend.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/metrics_log.h"

namespace seer::test {
namespace {

using ::testing::HasSubstr;

class TwoGpus : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() < 2)
      GTEST_SKIP() << "NO DEVICE: two GPUs are needed, " << cuda_device_count() << " visible";
  }

  /// 512 tokens: whole blocks for two ranks that share a sequence.
  ProcessResult train(const std::string& name, std::vector<std::string> more) {
    for (const char* value :
         {"device=cuda", "data.sequence_length=512", "eval.sequence_length=512", "parallel.timeout=20"}) {
      more.insert(more.end(), {"--set", value});
    }
    return run_.train(name, more);
  }
  std::filesystem::path path(const std::string& name) const { return run_.path(name); }
  std::vector<std::string> arguments(const std::string& name, const std::vector<std::string>& more) const {
    return run_.arguments(name, more);
  }

 private:
  TinyRun run_;
};

TEST_F(TwoGpus, DataAndShardedWeightsGiveTheBitsOfOne) {
  expect_success(train("one", {}));
  expect_success(train("data", {"--gpus", "0,1"}));
  expect_same_run(path("one"), path("data"));
  expect_success(train("shard", {"--gpus", "all", "--set", "parallel.shard_weights=2"}));
  expect_same_run(path("one"), path("shard"));
}

TEST_F(TwoGpus, StreamedSlicesChangeNoBit) {
  expect_success(train("one", {}));
  expect_success(train(
      "stream", {"--gpus", "0,1", "--set", "parallel.shard_weights=0", "--set", "model.weights=stream"}));
  expect_same_run(path("one"), path("stream"));
}

TEST_F(TwoGpus, ASharedSequenceLearnsTheSame) {
  expect_success(train("one", {}));
  expect_success(train("context", {"--gpus", "0,1", "--set", "parallel.context=2"}));
  const MetricsHistory one = read_metrics(path("one") / "metrics.jsonl");
  const MetricsHistory shared = read_metrics(path("context") / "metrics.jsonl");
  ASSERT_EQ(one.steps.size(), shared.steps.size());
  for (size_t i = 0; i < one.steps.size(); ++i) {
    for (size_t g = 0; g < one.steps[i].gates.size(); ++g) {
      const double loss = one.steps[i].gates[g].loss;
      EXPECT_NEAR(shared.steps[i].gates[g].loss, loss, 1e-4 * loss) << "step " << i;
    }
  }
}

TEST_F(TwoGpus, ResumesOnAnotherNumberOfGpus) {
  expect_success(train("one", {}));
  expect_success(
      train("both", {"--gpus", "0,1", "--set", "train.save_every=4", "--set", "train.keep_last=9"}));
  // As a run that was cut off after the fourth step.
  for (const auto& entry : std::filesystem::directory_iterator(path("both") / "checkpoints")) {
    if (entry.path().filename() != "step-00000004") std::filesystem::remove_all(entry.path());
  }
  expect_success(train("both", {"--resume"}));
  expect_same_run(path("one"), path("both"));
}

TEST_F(TwoGpus, ASecondRankOnTheSameGpuIsRefused) {
  const ProcessResult result = train("same", {"--gpus", "0,0"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("--gpus"));
}

}  // namespace
}  // namespace seer::test
