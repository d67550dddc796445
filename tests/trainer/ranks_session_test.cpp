// One training, shared by several ranks (threads, over Gloo), must be the training of one.
#include <chrono>
#include <cmath>
#include <thread>

#include <gmock/gmock.h>

#include "src/cpu/gloo_communicator.h"
#include "tests/support/rank_threads.h"
#include "tests/trainer/session_runs.h"

namespace seer::test {
namespace {

struct Layout {
  int ranks = 1;
  int context = 1;
  int shard = 1;
  bool stream = false;
};

/// What rank 0 saw; that the others saw the same is checked on the way.
std::vector<GateHistory> train_on_ranks(const std::filesystem::path& folder, const SessionOptions& options,
                                        const std::vector<std::vector<TokenSequence>>& batches,
                                        const Layout& layout) {
  std::vector<std::vector<GateHistory>> seen(layout.ranks);
  run_ranks(layout.ranks, [&](int rank, const RankExchange& exchange) {
    RankSetup setup{.context = layout.context, .shard = layout.shard, .stream = layout.stream};
    setup.world = make_gloo_communicator({.rank = rank, .size = layout.ranks}, exchange);
    LoadedSession session(folder, options, make_cpu_backend({.threads = 1}), std::move(setup));
    seen[rank] = train_gates(session, batches, rank / layout.context, layout.ranks / layout.context);
  });
  for (const std::vector<GateHistory>& other : seen) {
    for (size_t g = 0; g < other.size(); ++g) expect_same_bits(seen[0][g], other[g]);
  }
  return seen[0];
}

std::vector<GateHistory> train_alone(const std::filesystem::path& folder, const SessionOptions& options,
                                     const std::vector<std::vector<TokenSequence>>& batches) {
  LoadedSession session(folder, options, CpuOptions{.threads = 2});
  return train_gates(session, batches);
}

class RankSessions : public ::testing::Test {
 protected:
  RankSessions() { write_tiny_model(folder_.path(), {.layers = 3}); }
  const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  TempDir folder_;
};

TEST_F(RankSessions, AnyNumberOfDataRanksGivesTheSameBits) {
  const auto batches = random_batches(5, 4, 8, kRaggedLength);
  const SessionOptions options = options_for(three_gates(), 8);
  const std::vector<GateHistory> alone = train_alone(folder(), options, batches);
  for (const int ranks : {2, 4, 8}) {
    SCOPED_TRACE(ranks);
    const std::vector<GateHistory> shared = train_on_ranks(folder(), options, batches, {.ranks = ranks});
    for (size_t g = 0; g < alone.size(); ++g) expect_same_bits(alone[g], shared[g]);
  }
}

TEST_F(RankSessions, ThreeRanksAgreeWithOne) {
  const auto batches = random_batches(6, 2, 3, kRaggedLength);
  const SessionOptions options = options_for(three_gates(), 3);
  const std::vector<GateHistory> alone = train_alone(folder(), options, batches);
  const std::vector<GateHistory> shared = train_on_ranks(folder(), options, batches, {.ranks = 3});
  for (size_t g = 0; g < alone.size(); ++g) {
    EXPECT_NEAR(shared[g].steps[1].loss, alone[g].steps[1].loss, 1e-6 * alone[g].steps[1].loss);
  }
}

TEST_F(RankSessions, ShardedWeightsChangeNoBit) {
  const auto batches = random_batches(7, 3, 4, kRaggedLength);
  const SessionOptions options = options_for(three_gates(), 4);
  const std::vector<GateHistory> alone = train_alone(folder(), options, batches);
  for (const Layout layout :
       {Layout{.ranks = 2, .shard = 2}, Layout{.ranks = 4, .shard = 4}, Layout{.ranks = 4, .shard = 2},
        Layout{.ranks = 2, .shard = 2, .stream = true}, Layout{.ranks = 2, .stream = true}}) {
    SCOPED_TRACE(fmt::format("{} ranks, {} share the weights, streamed: {}", layout.ranks, layout.shard,
                             layout.stream));
    const std::vector<GateHistory> shared = train_on_ranks(folder(), options, batches, layout);
    for (size_t g = 0; g < alone.size(); ++g) expect_same_bits(alone[g], shared[g]);
  }
}

/// Relative Frobenius distance.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

/// 512 tokens: chunks of one or two of the largest blocks.
TEST_F(RankSessions, SequencesSpreadOverRanks) {
  const auto batches = random_batches(8, 5, 2, 512);
  const SessionOptions options = options_for(three_gates(), 2, 512);
  const std::vector<GateHistory> alone = train_alone(folder(), options, batches);
  for (const Layout layout :
       {Layout{.ranks = 2, .context = 2}, Layout{.ranks = 4, .context = 4}, Layout{.ranks = 4, .context = 2},
        Layout{.ranks = 4, .context = 2, .shard = 4}}) {
    SCOPED_TRACE(fmt::format("{} ranks, {} a sequence", layout.ranks, layout.context));
    const std::vector<GateHistory> shared = train_on_ranks(folder(), options, batches, layout);
    for (size_t g = 0; g < alone.size(); ++g) {
      const GateHistory& a = alone[g];
      const GateHistory& b = shared[g];
      EXPECT_NEAR(b.steps[0].loss, a.steps[0].loss, 1e-6 * a.steps[0].loss);
      EXPECT_NEAR(b.steps[0].grad_norm, a.steps[0].grad_norm, 1e-6 * a.steps[0].grad_norm);
      EXPECT_NEAR(b.steps[4].loss, a.steps[4].loss, 1e-5 * a.steps[4].loss);
      EXPECT_LT(distance(b.state, a.state), 1e-4);
      EXPECT_NEAR(b.eval.loss, a.eval.loss, 1e-5 * a.eval.loss);
      for (size_t d = 0; d < a.eval.densities.size(); ++d) {
        EXPECT_NEAR(b.eval.densities[d].recall, a.eval.densities[d].recall, 2e-3);
        EXPECT_NEAR(b.eval.densities[d].oracle, a.eval.densities[d].oracle, 1e-5);
      }
    }
  }
}

/// Five held-out sequences on four ranks of one micro-batch: the second round leaves three without work.
TEST_F(RankSessions, EvaluationsOfAnyLength) {
  const SessionOptions options = options_for(three_gates(), 4);
  std::vector<TokenSequence> held_out;
  for (int64_t m = 0; m < 5; ++m) held_out.push_back(random_pack(70 + m, {kRaggedLength - 16 * m}));
  LoadedSession alone(folder(), options, CpuOptions{.threads = 2});
  const std::vector<EvalMetrics> expected = alone->evaluate(held_out, 0);
  run_ranks(4, [&](int rank, const RankExchange& exchange) {
    RankSetup setup{.shard = 4};
    setup.world = make_gloo_communicator({.rank = rank, .size = 4}, exchange);
    LoadedSession session(folder(), options, make_cpu_backend({.threads = 1}), std::move(setup));
    const std::vector<EvalMetrics> seen = session->evaluate(held_out, 0);
    for (size_t g = 0; g < expected.size(); ++g) {
      EXPECT_EQ(seen[g].loss, expected[g].loss);
      EXPECT_EQ(seen[g].densities[0].recall, expected[g].densities[0].recall);
    }
  });
}

/// An exchange that fails must not leave a step with the gradients of one rank.
TEST_F(RankSessions, ALateRankFailsTheStepOfAll) {
  const SessionOptions options = options_for(three_gates(), 2);
  const auto batches = random_batches(10, 1, 2, kRaggedLength);
  std::vector<int> failed(2);
  run_ranks(2, [&](int rank, const RankExchange& exchange) {
    RankSetup setup;
    setup.world = make_gloo_communicator({.rank = rank, .size = 2, .timeout = std::chrono::milliseconds(500)},
                                         exchange);
    LoadedSession session(folder(), options, make_cpu_backend({.threads = 1}), std::move(setup));
    if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    try {
      session->train_step(0, std::span(batches[0]).subspan(rank, 1));
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kPeer) << e.what();
      failed[rank] = 1;
    }
  });
  EXPECT_THAT(failed, ::testing::Each(1));
}

TEST_F(RankSessions, NaNOnOneRankStopsAll) {
  const SessionOptions options = options_for(three_gates(), 2);
  const auto batches = random_batches(9, 1, 2, kRaggedLength);
  std::vector<int> refused(2);
  run_ranks(2, [&](int rank, const RankExchange& exchange) {
    RankSetup setup;
    setup.world = make_gloo_communicator({.rank = rank, .size = 2}, exchange);
    LoadedSession session(folder(), options, make_cpu_backend({.threads = 1}), std::move(setup));
    std::vector<float> before = session.state(0);
    GateParams& params = session->gates()[1].params();
    if (rank == 1) {  // whose weights alone are damaged
      const std::vector<float> nan(params.size(), std::nanf(""));
      session->backend().copy(session->queue(), ConstTensor(nan.data(), DType::kF32, Shape{params.size()}),
                              params.flat_weights());
      session->backend().synchronize(session->queue());
    }
    try {
      session->train_step(0, std::span(batches[0]).subspan(rank, 1));
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), ::testing::HasSubstr("gate \"wide\""));
      refused[rank] = 1;
    }
    EXPECT_EQ(session.state(0), before);
  });
  EXPECT_THAT(refused, ::testing::Each(1));
}

}  // namespace
}  // namespace seer::test
