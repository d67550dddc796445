// One layer of distillation: what its results may not depend on (threads, the memory for scores, other
// gates), and what its options do.
#include "src/gate/distill_layer.h"

#include <numeric>

#include <gtest/gtest.h>

#include "src/cpu/cpu_backend.h"
#include "src/model/rope.h"
#include "tests/ops/device.h"

namespace seer::test {
namespace {

constexpr int64_t kHeads = 8;
constexpr int64_t kKvHeads = 4;
constexpr int64_t kDim = 16;
constexpr size_t kPlenty = size_t{64} << 20;

struct GateChoice {
  const char* type;
  int64_t block_size;
  int64_t hidden_size;
  LossReduction reduction = LossReduction::kElements;
  int64_t key_pieces = 1;
  bool distance_bias = false;
};
const std::vector<GateChoice>& four_gates() {
  static const std::vector<GateChoice> gates = {
      {"Qavg_Kmaxminavg", 64, kDim},
      {"Qmaxmin_Kavg", 16, kDim, LossReduction::kRows},
      {"Qavg_Kmax", 32, 12},
      {"Qavg_Kmaxavg", 16, kDim, LossReduction::kElements, 4, true}};
  return gates;
}

struct GateResult {
  Values losses, query_gradient, key_gradient, distance_gradient, recall, oracle;
  bool operator==(const GateResult&) const = default;
};
struct LayerResult {
  Values output;
  std::vector<GateResult> gates;
  bool operator==(const LayerResult&) const = default;
};

struct Options {
  int threads = 2;
  size_t score_bytes = kPlenty;
  bool want_output = true;
  bool want_gradient = true;
  bool want_recall = true;
  double loss_factor = 1.0;
  double gradient_factor = 1.0;
  int times = 1;  ///< Micro-batches, all the same
};

LayerResult distill(const std::vector<GateChoice>& choices, const Options& options) {
  Device device(make_cpu_backend({.threads = options.threads}));
  BatchLayout batch = BatchLayout::packed(std::vector<int64_t>{0, 300, 433, 500});
  device.prepare(batch);
  const int64_t tokens = batch.num_query_rows;
  const auto input = [&](uint64_t seed, int64_t heads) {
    const Shape shape{tokens, heads, kDim};
    return device.upload_strided(shape, random_values(seed, shape.numel(), 2.0));
  };
  const auto tables = [&](int64_t dim, int64_t count, int64_t stride, int64_t pieces = 1) {
    return RopeTables(device.backend(), device.queue(), rope_frequencies(RopeConfig{}, dim), count, stride,
                      pieces);
  };
  const RopeTables token_rope = tables(kDim, 300, 1);
  std::vector<PrefillGateConfig> configs;
  std::vector<ScoreLayout> layouts;
  std::vector<RopeTables> block_ropes;
  std::vector<std::vector<RecallSlots>> recalls;
  for (const GateChoice& choice : choices) {
    configs.push_back({.type = parse_gate_type(choice.type),
                       .block_size = choice.block_size,
                       .hidden_size = choice.hidden_size,
                       .key_pieces = choice.key_pieces,
                       .distance_bias = choice.distance_bias,
                       .num_heads = kHeads,
                       .num_kv_heads = kKvHeads,
                       .head_dim = kDim});
    layouts.push_back(ScoreLayout::prefill(batch, choice.block_size));
    block_ropes.push_back(
        tables(choice.hidden_size, layouts.back().max_blocks, choice.block_size, choice.key_pieces));
    recalls.emplace_back();
    if (options.want_recall) {
      recalls.back().push_back(
          {0.4, device.zeros(Shape{kHeads}, DType::kF64), device.zeros(Shape{kHeads}, DType::kF64)});
    }
  }
  const ScoreLayout* finest = nullptr;
  for (ScoreLayout& layout : layouts) {
    device.prepare(layout);
    if (finest == nullptr || layout.block_size < finest->block_size) finest = &layout;
  }
  std::vector<GateTask> tasks;
  for (size_t g = 0; g < choices.size(); ++g) {
    const PrefillGateConfig& config = configs[g];
    GateTask task{.config = &config,
                  .layout = &layouts[g],
                  .blocks = block_ropes[g].table(),
                  .reduction = choices[g].reduction,
                  .loss_factor = options.loss_factor,
                  .gradient_factor = options.gradient_factor,
                  .losses = device.zeros(Shape{kHeads}, DType::kF64),
                  .recalls = recalls[g]};
    const auto seed = static_cast<uint64_t>(choices[g].block_size);
    task.weights.key =
        device.upload(config.key_weight(), random_values(seed, config.key_weight().numel(), 0.2));
    if (options.want_gradient) task.gradients.key = device.zeros(config.key_weight());
    if (config.has_query_linear()) {
      task.weights.query =
          device.upload(config.query_weight(), random_values(seed + 1, config.query_weight().numel(), 0.2));
      if (options.want_gradient) task.gradients.query = device.zeros(config.query_weight());
    }
    if (config.distance_bias) {
      task.weights.distance = device.upload(config.distance_weight(),
                                            random_values(seed + 2, config.distance_weight().numel(), 0.02));
      if (options.want_gradient) task.gradients.distance = device.zeros(config.distance_weight());
    }
    tasks.push_back(task);
  }
  DistillInput in{.q_pre = input(1, kHeads),
                  .k_pre = input(2, kKvHeads),
                  .batch = &batch,
                  .tokens = token_rope.table(),
                  .finest = finest};
  if (options.want_output) in.v = input(3, kKvHeads);

  Arena arena(device.backend().allocate(size_t{8} << 20, Memory::kDevice));
  LayerContext context{device.backend(), device.queue(), arena};
  context.score_bytes = options.score_bytes;
  LayerResult result;
  for (int i = 0; i < options.times; ++i) {
    arena.reset();
    const Tensor output = distill_layer(context, in, tasks);
    EXPECT_EQ(output.empty(), !options.want_output);
    if (options.want_output) result.output = device.download(output);
  }
  for (size_t g = 0; g < tasks.size(); ++g) {
    GateResult gate;
    gate.losses = device.download(tasks[g].losses);
    if (options.want_gradient) gate.key_gradient = device.download(tasks[g].gradients.key);
    if (!tasks[g].gradients.query.empty()) gate.query_gradient = device.download(tasks[g].gradients.query);
    if (!tasks[g].gradients.distance.empty()) {
      gate.distance_gradient = device.download(tasks[g].gradients.distance);
    }
    if (options.want_recall) {
      gate.recall = device.download(recalls[g][0].recall);
      gate.oracle = device.download(recalls[g][0].oracle);
    }
    result.gates.push_back(gate);
  }
  device.backend().synchronize(device.queue());
  return result;
}

double sum(const Values& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

Values scaled(Values values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

TEST(DistillLayer, SameBitsForAnyNumberOfThreads) {
  const LayerResult one = distill(four_gates(), {.threads = 1});
  EXPECT_GT(sum(one.gates[0].losses), 0.0);
  EXPECT_EQ(distill(four_gates(), {.threads = 2}), one);
  EXPECT_EQ(distill(four_gates(), {.threads = 3}), one);
}

TEST(DistillLayer, SameBitsForAnyRangeOfHeads) {
  const LayerResult all = distill(four_gates(), {});
  // Block maxima, target, scores, lists and best pieces of one head: 16-token blocks have the most elements. From one group at a
  // time to all but one.
  const ScoreLayout finest =
      ScoreLayout::prefill(BatchLayout::packed(std::vector<int64_t>{0, 300, 433, 500}), 16);
  const size_t per_head = 17 * finest.elements + sizeof(float);
  for (const size_t heads : {size_t{0}, size_t{2}, size_t{3}, size_t{4}, size_t{6}, size_t{8}}) {
    EXPECT_EQ(distill(four_gates(), {.score_bytes = heads * per_head}), all) << heads << " heads";
  }
}

TEST(DistillLayer, EveryGateTrainsAsIfAlone) {
  const LayerResult together = distill(four_gates(), {});
  for (size_t g = 0; g < four_gates().size(); ++g) {
    const LayerResult alone = distill({four_gates()[g]}, {});
    EXPECT_EQ(alone.gates[0], together.gates[g]) << four_gates()[g].type;
    EXPECT_EQ(alone.output, together.output);
  }
  std::vector<GateChoice> reversed(four_gates().rbegin(), four_gates().rend());
  const LayerResult other_order = distill(reversed, {});
  for (size_t g = 0; g < reversed.size(); ++g)
    EXPECT_EQ(other_order.gates[reversed.size() - 1 - g], together.gates[g]);
}

TEST(DistillLayer, WhatIsNotAskedForChangesNothing) {
  const LayerResult all = distill(four_gates(), {});
  EXPECT_EQ(distill(four_gates(), {.want_output = false}).gates, all.gates);  // the last layer
  EXPECT_EQ(distill({}, {}).output, all.output);                              // beyond the last gate
  const LayerResult losses = distill(four_gates(), {.want_gradient = false, .want_recall = false});
  for (size_t g = 0; g < all.gates.size(); ++g) {
    EXPECT_EQ(losses.gates[g].losses, all.gates[g].losses);
    EXPECT_EQ(distill(four_gates(), {.want_recall = false}).gates[g].key_gradient, all.gates[g].key_gradient);
  }
}

TEST(DistillLayer, FactorsScaleAndResultsAreAddedUp) {
  const LayerResult once = distill(four_gates(), {});
  // Powers of two, so that scaling does not round.
  const LayerResult scaled_once = distill(four_gates(), {.loss_factor = 0.25, .gradient_factor = 8.0});
  const LayerResult twice = distill(four_gates(), {.times = 2});
  for (size_t g = 0; g < once.gates.size(); ++g) {
    EXPECT_EQ(scaled_once.gates[g].losses, scaled(once.gates[g].losses, 0.25));
    EXPECT_EQ(scaled_once.gates[g].recall, scaled(once.gates[g].recall, 0.25));
    EXPECT_EQ(scaled_once.gates[g].key_gradient, scaled(once.gates[g].key_gradient, 8.0));
    EXPECT_EQ(scaled_once.gates[g].query_gradient, scaled(once.gates[g].query_gradient, 8.0));
    EXPECT_EQ(scaled_once.gates[g].distance_gradient, scaled(once.gates[g].distance_gradient, 8.0));
    // Three sequences are added one after the other, so the second micro-batch rounds on its own.
    for (size_t h = 0; h < once.gates[g].losses.size(); ++h) {
      EXPECT_NEAR(twice.gates[g].losses[h], 2 * once.gates[g].losses[h], 1e-14 * once.gates[g].losses[h]);
    }
    EXPECT_EQ(twice.gates[g].key_gradient, scaled(once.gates[g].key_gradient, 2.0));
  }
}

TEST(DistillLayer, RecallIsAShareAndTheOracleIsNotWorse) {
  const LayerResult result = distill(four_gates(), {});
  for (const GateResult& gate : result.gates) {
    EXPECT_GT(sum(gate.recall), 0.0);
    EXPECT_LE(sum(gate.recall), sum(gate.oracle) + 1e-12);
    EXPECT_LE(sum(gate.oracle), 1.0 + 1e-12);
  }
}

}  // namespace
}  // namespace seer::test
