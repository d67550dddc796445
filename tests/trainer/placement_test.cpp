// Where residual streams and weights are kept must not change a bit of a training.
#include <functional>

#include <gtest/gtest.h>

#include "tests/support/backends.h"
#include "tests/support/golden_file.h"
#include "tests/trainer/session_runs.h"
#include "trainer/memory_plan.h"

namespace seer::test {
namespace {

constexpr int64_t kLength = 200;

struct Placement {
  bool stream = false;
  ResidualPlace residuals = ResidualPlace::kDevice;
};

struct Outcome {
  std::vector<double> losses;
  std::vector<float> weights;
  bool operator==(const Outcome&) const = default;
};

/// Three steps of `batch` sequences of different lengths, with an evaluation of fewer sequences between.
Outcome train(const std::filesystem::path& folder, const Placement& placement, int64_t batch) {
  const auto backend = backend_with_own_memory();
  const auto queue = backend->make_queue("load");
  const ModelConfig model = load_model_config(folder);
  FrozenWeights weights(*backend, *queue, model, folder, {.stream = placement.stream, .head = false});
  GateEntryConfig gate;
  gate.name = "gate";
  gate.block_size = 16;
  Session session(*backend, model, weights,
                  {.gates = {gate},
                   .total_steps = 3,
                   .batch_size = batch,
                   .max_tokens = kLength,
                   .residuals = placement.residuals});
  GateParams& params = session.gates()[0].params();
  params.init_normal(*backend, session.queue(), 7, 0.02);
  Outcome out;
  for (int64_t step = 0; step < 3; ++step) {
    std::vector<TokenSequence> sequences;
    for (int64_t m = 0; m < batch; ++m) sequences.push_back(random_pack(step * 100 + m, {kLength - 13 * m}));
    out.losses.push_back(session.train_step(step, sequences)[0].loss);
    sequences.resize((batch + 1) / 2);
    out.losses.push_back(session.evaluate(sequences, step)[0].loss);
  }
  out.weights = download(*backend, session.queue(), params.flat_weights());
  return out;
}

TEST(Placement, ChangesNoBit) {
  const TempDir folder;
  write_tiny_model(folder.path(), {.layers = 3});
  for (const int64_t batch : {1, 2, 3, 4, 7}) {
    SCOPED_TRACE(batch);
    const Outcome expected = train(folder.path(), {}, batch);
    EXPECT_EQ(train(folder.path(), {.residuals = ResidualPlace::kHost}, batch), expected);
    EXPECT_EQ(train(folder.path(), {.stream = true}, batch), expected);
    EXPECT_EQ(train(folder.path(), {.stream = true, .residuals = ResidualPlace::kHost}, batch), expected);
  }
}

/// Losses and weights after four steps; `ahead` says what is uploaded during step t for the next one.
Outcome train_ahead(const std::filesystem::path& folder, const std::vector<std::vector<TokenSequence>>& steps,
                    const std::function<const std::vector<TokenSequence>*(size_t)>& ahead) {
  LoadedSession session(folder, options_for(three_gates()), backend_with_own_memory());
  Outcome out;
  for (size_t t = 0; t < steps.size(); ++t) {
    session->start_step(static_cast<int64_t>(t), steps[t]);
    if (const auto* next = ahead(t)) session->upload_ahead(*next);
    out.losses.push_back(session->finish_step()[0].loss);
    if (t == 1) out.losses.push_back(session->evaluate(steps[0], 1)[0].loss);
  }
  out.weights = session.state(0);
  return out;
}

TEST(UploadAhead, ChangesNoBitWhetherItWasRightOrWrong) {
  const TempDir folder;
  write_tiny_model(folder.path(), {.layers = 3});
  const auto steps = random_batches(11, 4, 2, kRaggedLength);
  const auto others = random_batches(97, 4, 2, kRaggedLength);
  const Outcome expected = train_ahead(folder.path(), steps, [](size_t) { return nullptr; });
  const auto right = [&](size_t t) { return t + 1 < steps.size() ? &steps[t + 1] : nullptr; };
  EXPECT_EQ(train_ahead(folder.path(), steps, right), expected);
  EXPECT_EQ(train_ahead(folder.path(), steps, [&](size_t t) { return &others[t]; }), expected);
  // Same tokens, other boundaries.
  auto cut = steps;
  for (std::vector<TokenSequence>& step : cut) {
    for (TokenSequence& sequence : step) sequence.cu_seqlens = {0, 128, kRaggedLength};
  }
  EXPECT_EQ(train_ahead(folder.path(), steps, [&](size_t t) { return &cut[(t + 1) % cut.size()]; }),
            expected);
}

TEST(Placement, TheFirstLayoutThatFitsIsTaken) {
  const TempDir folder;
  write_tiny_model(folder.path(), {.layers = 6, .hidden = 256, .intermediate = 512});
  const auto backend = backend_with_own_memory();
  const ModelConfig model = load_model_config(folder.path());
  RunConfig config;
  config.device = "cuda";  // keys of a device with memory of its own
  config.gates.emplace_back();
  config.gates[0].block_size = 16;
  config.train.batch_size = 16;
  config.data.sequence_length = 4096;
  const auto plan = [&](size_t budget) { return plan_memory(*backend, config, model, nullptr, budget); };

  const MemoryPlan roomy = plan(SIZE_MAX);
  EXPECT_FALSE(roomy.weights.stream);
  EXPECT_EQ(roomy.residuals, ResidualPlace::kDevice);
  const MemoryPlan host = plan(roomy.needed - 1);
  EXPECT_FALSE(host.weights.stream);
  EXPECT_EQ(host.residuals, ResidualPlace::kHost);
  EXPECT_LT(host.needed, roomy.needed);
  const MemoryPlan both = plan(host.needed - 1);
  EXPECT_TRUE(both.weights.stream);
  EXPECT_LT(both.needed, host.needed);
  EXPECT_TRUE(both.fits());

  const MemoryPlan none = plan(1000);
  EXPECT_FALSE(none.fits());
  EXPECT_NE(none.refusal("gpu").find("data.sequence_length"), std::string::npos);

  config.model.weights = "stream";
  config.train.residuals = "device";
  EXPECT_TRUE(plan(SIZE_MAX).weights.stream);
  EXPECT_EQ(plan(1000).residuals, ResidualPlace::kDevice);
  config.model.weights = "resident";
  EXPECT_FALSE(plan(1000).weights.stream);
}

}  // namespace
}  // namespace seer::test
