// The recall that evaluation reports is the one that training logs.
#include "trainer/eval/recall_pass.h"

#include <gtest/gtest.h>

#include "tests/support/backends.h"
#include "tests/trainer/session_runs.h"
#include "trainer/gates_folder.h"

namespace seer::test {
namespace {

using Kind = ScoringMethod::Kind;

constexpr uint64_t kSeed = 42;

/// The tiny model with the weights that a session's gates begin with.
class RecallOfAGate : public testing::Test {
 protected:
  RecallOfAGate() {
    write_tiny_model(model_folder_, {});
    model_ = load_model_config(model_folder_);
    weights_ = std::make_unique<FrozenWeights>(*backend_, *queue_, model_, model_folder_);
    entry_.block_size = 16;
  }

  GateSet gates() {
    GateTraining training(*backend_, *queue_, entry_, model_, kRaggedLength);
    training.params().init_normal(*backend_, *queue_, kSeed, model_.initializer_range);
    write_gates_folder(folder_ / "gates", download_gates(*backend_, *queue_, training, DType::kF32), entry_,
                       model_, "base", "note");
    return {*backend_, *queue_, folder_ / "gates", model_, kRaggedLength};
  }

  std::vector<RecallResult> measure(const GateSet* gates, const std::vector<AttentionPlan>& tasks,
                                    const std::vector<TokenSequence>& sequences) {
    RecallPass pass(*backend_, model_, *weights_, gates, kRaggedLength, entry_.block_size, tasks);
    for (const TokenSequence& sequence : sequences) pass.add(sequence.ids);
    return pass.results();
  }

  static AttentionPlan task(Kind kind, double nz_ratio) {
    return {.method = ScoringMethod{.kind = kind},
            .rule = {.by = SelectBy::kNzRatio, .value = nz_ratio},
            .values = {}};
  }

  TempDir folder_;
  const std::filesystem::path model_folder_ = folder_ / "model";
  const std::unique_ptr<Backend> backend_ = backends().back().make();
  const std::unique_ptr<Queue> queue_ = backend_->make_queue("load");
  ModelConfig model_;
  std::unique_ptr<FrozenWeights> weights_;
  GateEntryConfig entry_;
};

/// Keys of a block as one, and in pieces.
class RecallOfAGateInPieces : public RecallOfAGate, public testing::WithParamInterface<int64_t> {};
INSTANTIATE_TEST_SUITE_P(, RecallOfAGateInPieces, testing::Values(1, 4));

TEST_P(RecallOfAGateInPieces, IsWhatTrainingLogs) {
  entry_.key_pieces = GetParam();
  const std::vector<TokenSequence> sequences = {random_pack(1, {kRaggedLength}),
                                                random_pack(2, {kRaggedLength})};
  LoadedSession session(model_folder_, options_for({entry_}), backends().back().make(), kSeed);
  const EvalMetrics logged = session->evaluate(sequences, 0).front();
  const GateSet trained = gates();
  ASSERT_EQ(logged.densities.size(), 2U);
  for (const EvalDensity& expected : logged.densities) {
    const std::vector<RecallResult> results = measure(
        &trained, {task(Kind::kGate, expected.density), task(Kind::kOracle, expected.density)}, sequences);
    EXPECT_NEAR(results[0].mean_recall(), expected.recall, 1e-6);
    EXPECT_NEAR(results[1].mean_recall(), expected.oracle, 1e-6);
    EXPECT_LT(expected.recall, expected.oracle);
    for (size_t layer = 0; layer < expected.layer_recall.size(); ++layer) {
      EXPECT_NEAR(mean_of({results[0].recall[layer]}), expected.layer_recall[layer], 1e-6);
      EXPECT_NEAR(mean_of({results[1].recall[layer]}), expected.layer_oracle[layer], 1e-6);
    }
  }
}

TEST_F(RecallOfAGate, AWindowIsASpecialCaseOfTheDistanceBias) {
  entry_.distance_bias = true;
  GateTraining training(*backend_, *queue_, entry_, model_, kRaggedLength);  // all weights are 0
  std::vector<float> bias(training.config().distance_weight().numel());
  for (size_t i = 0; i < bias.size(); ++i) {
    bias[i] =
        i % kDistanceTerms == kDistanceRamps ? 9.0F : -0.1F;  // the first block, then the nearer the better
  }
  for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
    backend_->copy(*queue_, ConstTensor(bias.data(), DType::kF32, training.config().distance_weight()),
                   training.params().weights(layer).distance);
  }
  backend_->synchronize(*queue_);
  write_gates_folder(folder_ / "gates", download_gates(*backend_, *queue_, training, DType::kF32), entry_,
                     model_, "base", "note");
  const GateSet gates(*backend_, *queue_, folder_ / "gates", model_, kRaggedLength);
  for (const double density : {0.1, 0.3, 0.6}) {
    const std::vector<RecallResult> results =
        measure(&gates, {task(Kind::kGate, density), task(Kind::kWindow, density)},
                {random_pack(6, {kRaggedLength})});
    EXPECT_EQ(results[0].recall, results[1].recall) << density;
    EXPECT_EQ(results[0].density, results[1].density) << density;
  }
}

TEST_F(RecallOfAGate, DensityIsOfTheBlocksSeen) {
  const TokenSequence sequence = random_pack(3, {kRaggedLength});
  const int64_t blocks = (kRaggedLength + 15) / 16;
  const std::vector<RecallResult> results = measure(
      nullptr, {task(Kind::kWindow, 0.3), task(Kind::kWindow, 1.0), task(Kind::kRandom, 1.0)}, {sequence});
  const int64_t most = blocks_a_row(SelectBy::kNzRatio, 0.3, blocks, 16);
  double kept = 0;
  for (int64_t i = 0; i < blocks; ++i) kept += static_cast<double>(std::min(most, i + 1));
  EXPECT_DOUBLE_EQ(results[0].mean_density(), kept / (static_cast<double>(blocks * (blocks + 1)) / 2));
  EXPECT_LT(results[0].mean_recall(), 1);
  for (const size_t all : {1, 2}) {
    EXPECT_NEAR(results[all].mean_recall(), 1, 1e-6);
    EXPECT_DOUBLE_EQ(results[all].mean_density(), 1);
  }
}

TEST_F(RecallOfAGate, TasksDoNotDisturbEachOther) {
  const TokenSequence sequence = random_pack(4, {kRaggedLength});
  const GateSet untrained = gates();
  AttentionPlan by_head = task(Kind::kGate, 0.2);
  by_head.values = {{0.1F, 0.2F, 0.3F, 0.4F}, {0.5F, 0.6F, 0.7F, 0.8F}};
  const std::vector<AttentionPlan> tasks = {task(Kind::kMinMaxBound, 0.2), by_head, task(Kind::kOracle, 0.2),
                                            task(Kind::kGate, 0.2)};
  const std::vector<RecallResult> together = measure(&untrained, tasks, {sequence});
  for (size_t t = 0; t < tasks.size(); ++t) {
    const RecallResult alone = measure(&untrained, {tasks[t]}, {sequence}).front();
    EXPECT_EQ(alone.recall, together[t].recall) << t;
    EXPECT_EQ(alone.density, together[t].density) << t;
  }
  for (size_t head = 1; head < 4; ++head)
    EXPECT_GT(together[1].density[0][head], together[1].density[0][head - 1]);
}

/// As the sparse model runs them: everything is kept there.
TEST_F(RecallOfAGate, LayersThatStayDenseKeepEverything) {
  const TokenSequence sequence = random_pack(5, {kRaggedLength});
  AttentionPlan plan = task(Kind::kWindow, 0.1);
  const RecallResult sparse = measure(nullptr, {plan}, {sequence}).front();
  plan.dense_layers = 1;
  const RecallResult result = measure(nullptr, {plan}, {sequence}).front();
  for (const auto* part : {&result.recall, &result.density}) {
    for (const double value : part->front()) EXPECT_EQ(value, 1);
  }
  EXPECT_LT(sparse.recall[0][0], 0.99);
  EXPECT_EQ(result.recall.back(), sparse.recall.back());
  EXPECT_EQ(result.density.back(), sparse.density.back());
}

}  // namespace
}  // namespace seer::test
