// Whole trainings against PyTorch: every file of goldens/distill-prefill, step by step, through the session
// that `seer-train train` uses.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/support/backends.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"
#include "trainer/session.h"

namespace seer::test {
namespace {

const double kFactor = backends().back().tolerance_factor;

GateEntryConfig entry_of(const GoldenFile& golden) {
  GateEntryConfig entry;
  entry.type = golden.text("gate_type");
  entry.block_size = golden.integer("block_size");
  entry.hidden_size = golden.integer("gate_hidden_size");
  entry.force_double = golden.boolean("force_double");
  entry.loss_scale = golden.number("gate_loss_scale");
  entry.optimizer.learning_rate = golden.number("learning_rate");
  entry.optimizer.max_grad_norm = golden.number("max_grad_norm");
  entry.schedule.type = golden.text("schedule").substr(0, golden.text("schedule").find(':'));
  entry.schedule.warmup_steps = golden.integer("warmup_steps");
  return entry;
}

void load_weights(Session& session, const GoldenFile& golden) {
  GateParams& params = session.gates()[0].params();
  for (int64_t layer = 0; layer < params.num_layers(); ++layer) {
    const GateTensors weights = params.weights(layer);
    const auto copy = [&](const Tensor& to, bool query) {
      const std::vector<float> values = golden.floats("init." + gate_weight_name(layer, query));
      session.backend().copy(session.queue(), ConstTensor(values.data(), DType::kF32, to.shape()), to);
      session.backend().synchronize(session.queue());
    };
    copy(weights.key, false);
    if (!weights.query.empty()) copy(weights.query, true);
  }
}

void compare_weights(Session& session, const GoldenFile& golden) {
  const GateParams& params = session.gates()[0].params();
  for (int64_t layer = 0; layer < params.num_layers(); ++layer) {
    const GateTensors weights = params.weights(layer);
    const auto compare = [&](const Tensor& ours, bool query) {
      const std::string name = "final." + gate_weight_name(layer, query);
      EXPECT_LE(relative_error(download(session.backend(), session.queue(), ours), golden.floats(name)),
                1e-4 * kFactor)
          << name;
    };
    compare(weights.key, false);
    if (!weights.query.empty()) compare(weights.query, true);
  }
}

TEST(DistillGolden, LossesNormsAndWeights) {
  for (const auto& path : golden_cases("distill-prefill")) {
    SCOPED_TRACE(path.string());
    const GoldenFile golden(path);
    const auto folder = goldens_dir() / golden.text("base_model");
    const int64_t steps = golden.integer("steps");
    const int64_t accumulation = golden.integer("gradient_accumulation");
    const int64_t length = golden.integer("sequence_length");

    const auto backend = backends().back().make();
    const auto queue = backend->make_queue("load");
    const ModelConfig model = load_model_config(folder);
    FrozenWeights weights(*backend, *queue, model, folder, {.head = false});
    Session session(*backend, model, weights,
                    {.gates = {entry_of(golden)},
                     .total_steps = steps,
                     .batch_size = accumulation,
                     .max_tokens = length});
    load_weights(session, golden);

    const std::vector<int64_t> ids = golden.integers("input_ids");
    const std::vector<float> expected = golden.floats("loss_total_then_layers");
    const std::vector<float> norms = golden.floats("grad_norm_before_clip");
    const std::vector<float> rates = golden.floats("lr");
    for (int64_t step = 0; step < steps; ++step) {
      SCOPED_TRACE(step);
      std::vector<TokenSequence> sequences(accumulation);
      for (int64_t m = 0; m < accumulation; ++m) {
        const auto begin = ids.begin() + (step * accumulation + m) * length;
        sequences[m].ids.assign(begin, begin + length);
        sequences[m].cu_seqlens = {0, length};
      }
      const GateMetrics metrics = session.train_step(step, sequences)[0];
      const float* row = expected.data() + step * (model.num_layers + 1);
      EXPECT_NEAR(metrics.loss, row[0], 1e-5 * kFactor * row[0]);
      for (int64_t layer = 0; layer < model.num_layers; ++layer) {
        EXPECT_NEAR(metrics.layer_losses[layer], row[layer + 1], 1e-5 * kFactor * row[layer + 1])
            << "layer " << layer;
      }
      EXPECT_NEAR(metrics.grad_norm, norms[step], 1e-4 * kFactor * norms[step]);
      EXPECT_NEAR(metrics.learning_rate, rates[step], 1e-6 * golden.number("learning_rate"));
    }
    compare_weights(session, golden);
  }
}

}  // namespace
}  // namespace seer::test
