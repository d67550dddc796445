// Whole trainings on several processes over Gloo: the outcome must be that of one process.
#include <cmath>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "src/io/safetensors.h"
#include "tests/trainer/rank_runs.h"
#include "trainer/checkpoint.h"
#include "trainer/metrics_log.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// With the lines of metrics.jsonl as they are printed, every gate and every checkpoint.
TEST(RanksTraining, AnyNumberOfRanksGivesTheSameBytes) {
  const TinyRun run;
  expect_success(train_on_ranks(run, "alone", 0));
  for (const int ranks : {1, 2, 4}) {
    for (const char* shard : {"1", "0"}) {
      if (ranks == 1 && shard == std::string("0")) continue;
      SCOPED_TRACE(fmt::format("{} ranks, parallel.shard_weights={}", ranks, shard));
      const std::string name = fmt::format("ranks{}-{}", ranks, shard);
      const ProcessResult result =
          train_on_ranks(run, name, ranks, sets({fmt::format("parallel.shard_weights={}", shard)}));
      expect_success(result);
      EXPECT_EQ(last_words(result.err), Strings());
      expect_same_run(run.path("alone"), run.path(name));
      EXPECT_FALSE(fs::exists(run.path(name) / "logs/rank-0.log"));
      EXPECT_EQ(fs::exists(run.path(name) / "logs/rank-1.log"), ranks > 1);
    }
  }
}

/// Documents of their own lengths: a step's tokens are not alike on its ranks.
TEST(RanksTraining, PackedDocumentsGiveTheSameBytes) {
  const TinyRun run(TinyRun::Layout::kPacked);
  expect_success(train_on_ranks(run, "alone", 0));
  expect_success(train_on_ranks(run, "two", 2, sets({"parallel.shard_weights=2"})));
  expect_same_run(run.path("alone"), run.path("two"));
}

/// Every loss of a run, in the order of steps and gates.
std::vector<double> losses_of(const fs::path& run) {
  std::vector<double> losses;
  for (const StepMetrics& step : read_metrics(run / "metrics.jsonl").steps) {
    for (const auto& gate : step.gates) losses.push_back(gate.loss);
  }
  return losses;
}

std::vector<float> values_of(const NamedTensor& tensor) {
  std::vector<float> values(tensor.numel());
  convert_to_f32(tensor.bytes.data(), tensor.dtype, tensor.numel(), values.data());
  return values;
}

/// Relative Frobenius distance of the weights in two runs' last checkpoints.
double distance_of_weights(const fs::path& expected, const fs::path& actual) {
  const SafetensorsFile a(*latest_checkpoint(expected / "checkpoints") / "state.safetensors");
  const SafetensorsFile b(*latest_checkpoint(actual / "checkpoints") / "state.safetensors");
  double difference = 0;
  double norm = 0;
  for (const NamedTensor& tensor : a.tensors()) {
    if (!tensor.name.ends_with("/weights")) continue;  // the others are the optimizer's moments
    const std::vector<float> x = values_of(tensor);
    const std::vector<float> y = values_of(b.at(tensor.name));
    for (size_t i = 0; i < x.size(); ++i) {
      difference += std::pow(static_cast<double>(x[i]) - y.at(i), 2);
      norm += std::pow(static_cast<double>(x[i]), 2);
    }
  }
  EXPECT_GT(norm, 0);
  return std::sqrt(difference / norm);
}

void expect_close(const fs::path& expected, const fs::path& actual) {
  const std::vector<double> a = losses_of(expected);
  const std::vector<double> b = losses_of(actual);
  ASSERT_EQ(a.size(), b.size());
  ASSERT_FALSE(a.empty());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(b[i], a[i], 1e-5 * a[i]) << "loss " << i;
  EXPECT_LT(distance_of_weights(expected, actual), 1e-4);
}

/// Sums over tokens are then made in another order: not the same bits.
TEST(RanksTraining, SequencesSpreadOverRanksAgree) {
  const TinyRun run;
  const Strings twelve = {"train.steps=12", "train.batch_size=2", "eval.every=0"};
  expect_success(train_on_ranks(run, "alone", 0, sets(twelve)));
  for (const int ranks : {2, 4}) {
    SCOPED_TRACE(ranks);
    Strings settings = twelve;
    settings.emplace_back("parallel.context=2");
    expect_success(train_on_ranks(run, fmt::format("ranks{}", ranks), ranks, sets(settings)));
    expect_close(run.path("alone"), run.path(fmt::format("ranks{}", ranks)));
  }
}

TEST(RanksTraining, ThreeRanksAgree) {
  const TinyRun run;
  const Strings three = sets({"train.batch_size=3"});
  expect_success(train_on_ranks(run, "alone", 0, three));
  expect_success(train_on_ranks(run, "three", 3, three));
  expect_close(run.path("alone"), run.path("three"));
}

// What no number of ranks can run is said once, at once, and is a usage error to every launcher.

struct Refusal {
  std::string what;
  int ranks;
  Strings settings;
  Strings parts;
};

class RanksRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(RanksRefusal, IsAUsageErrorThatSaysWhatToDo) {
  const auto& [what, ranks, settings, parts] = GetParam();
  const TinyRun run(what == "PackedContext" ? TinyRun::Layout::kPacked : TinyRun::Layout::kJoined);
  // Nobody waits for the others: the test would take an hour.
  Strings more = sets(settings);
  for (const std::string& argument : sets({"parallel.timeout=3600"})) more.push_back(argument);
  Strings restarting = more;
  restarting.insert(restarting.end(), {"--max-restarts", "3"});
  const ProcessResult launched = train_on_ranks(run, "launched", ranks, restarting);
  expect_refusal(launched, kUsage, parts);
  EXPECT_EQ(last_words(launched.err).size(), 1) << launched.err;
  EXPECT_FALSE(fs::exists(run.path("launched")));

  StartedRanks by_hand(std::vector<Strings>(ranks, train_command(run, "by_hand", 0, more)));
  for (const ProcessResult& result : by_hand.wait()) expect_refusal(result, kUsage, parts);
  EXPECT_FALSE(fs::exists(run.path("by_hand")));
}

INSTANTIATE_TEST_SUITE_P(
    , RanksRefusal,
    testing::Values(Refusal{"BatchSize", 3, {}, {"train.batch_size is 4", "a multiple of 3", "3 ranks"}},
                    Refusal{"BatchOfGroups",
                            4,
                            {"train.batch_size=3", "parallel.context=2"},
                            {"train.batch_size is 3", "a multiple of 2", "4 ranks, 2 for each sequence"}},
                    Refusal{"Context",
                            3,
                            {"parallel.context=2", "train.batch_size=3"},
                            {"parallel.context is 2", "does not divide 3 ranks"}},
                    Refusal{"Shard",
                            4,
                            {"parallel.shard_weights=3"},
                            {"parallel.shard_weights is 3", "does not divide 4 ranks"}},
                    Refusal{"Length",
                            2,
                            {"parallel.context=2", "data.sequence_length=320"},
                            {"data.sequence_length", "found 320", "a multiple of 128"}},
                    Refusal{"PackedContext",
                            2,
                            {"parallel.context=2"},
                            {"parallel.context", "data.layout is \"packed\"", "\"joined\""}}),
    [](const auto& tested) { return tested.param.what; });

}  // namespace
}  // namespace seer::test
