// Every hand-written backward against central finite differences in double: the operations one by one, then
// the whole graphs of prefill and decode gates, from weights to loss.
#include <cmath>
#include <functional>
#include <numeric>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "src/core/arena.h"
#include "src/cpu/cpu_backend.h"
#include "src/gate/decode_gate.h"
#include "src/gate/prefill_gate.h"
#include "src/model/rope.h"
#include "tests/ops/device.h"

namespace seer::test {
namespace {

constexpr DType kF64 = DType::kF64;
constexpr double kStep = 1e-5;
constexpr double kTolerance = 1e-8;

double dot(const Values& a, const Values& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

class GradientCheck : public ::testing::Test {
 protected:
  /// Compares `gradient` with the central difference of `loss` along two random directions and along a few
  /// single elements. Errors are relative to |gradient| |direction|.
  static void check(const Values& x, const Values& gradient, const std::function<double(const Values&)>& loss,
                    const std::string& what) {
    ASSERT_EQ(x.size(), gradient.size());
    std::vector<Values> directions = {random_values(900, static_cast<int64_t>(x.size())),
                                      random_values(901, static_cast<int64_t>(x.size()))};
    for (size_t i = 0; i < 3; ++i) {
      directions.emplace_back(x.size(), 0.0);
      directions.back()[i * (x.size() - 1) / 2] = 1.0;
    }
    const double norm = std::sqrt(dot(gradient, gradient));
    ASSERT_GT(norm, 0.0) << what;
    for (const Values& direction : directions) {
      Values plus = x;
      Values minus = x;
      for (size_t i = 0; i < x.size(); ++i) {
        plus[i] += kStep * direction[i];
        minus[i] -= kStep * direction[i];
      }
      const double numeric = (loss(plus) - loss(minus)) / (2.0 * kStep);
      const double error =
          std::abs(numeric - dot(gradient, direction)) / (norm * std::sqrt(dot(direction, direction)));
      EXPECT_LE(error, kTolerance) << what << ": " << dot(gradient, direction) << " instead of " << numeric;
      worst_ = std::max(worst_, error);
    }
  }
  void SetUp() override { worst_ = 0; }
  void TearDown() override { RecordProperty("worst_relative_error", fmt::format("{:.1e}", worst_)); }

  Tensor f64(const Shape& shape, const Values& values) { return device_.upload(shape, values, kF64); }
  RopeTables tables(int64_t dim, int64_t count, int64_t stride) {
    return {backend_, queue_, rope_frequencies(RopeConfig{}, dim), count, stride};
  }

  static inline double worst_ = 0;  // of the running test
  Device device_{make_cpu_backend({.threads = 2})};
  Backend& backend_ = device_.backend();
  Queue& queue_ = device_.queue();
};

TEST_F(GradientCheck, HeadLinear) {
  const Shape x_shape{21, 2, 9};
  const Shape w_shape{6, 9, 5};
  const Shape out_shape{21, 6, 5};
  const Tensor x = f64(x_shape, random_values(1, x_shape.numel()));
  const Values w = random_values(2, w_shape.numel());
  const Values cotangent = random_values(3, out_shape.numel());
  const Tensor gradient = device_.zeros(w_shape, kF64);
  backend_.head_linear_backward(queue_, x, f64(out_shape, cotangent), gradient);
  check(
      w, device_.download(gradient),
      [&](const Values& at) {
        const Tensor out = device_.output(out_shape, kF64);
        backend_.head_linear(queue_, x, f64(w_shape, at), out);
        return dot(device_.download(out), cotangent);
      },
      "weights");
}

TEST_F(GradientCheck, Rope) {
  const Shape shape{13, 2, 8};
  Table<RowSpan> rows{{{0, 6, 4}, {6, 7, 0}}, {}};
  device_.prepare(rows);
  const RopeTables table = tables(8, 16, 1);
  const Values x = random_values(4, shape.numel());
  const Values cotangent = random_values(5, shape.numel());
  const auto rotate = [&](const Values& values, RopeDirection direction) {
    const Tensor out = f64(shape, values);
    backend_.rope(queue_, out, table.table(), rows, direction, out);
    return device_.download(out);
  };
  check(
      x, rotate(cotangent, RopeDirection::kTransposed),
      [&](const Values& at) { return dot(rotate(at, RopeDirection::kForward), cotangent); }, "x");
}

TEST_F(GradientCheck, RmsNorm) {
  const Shape shape{7, 3, 6};
  const Values x = random_values(6, shape.numel());
  const Values weight = random_values(7, 6);
  const Values cotangent = random_values(8, shape.numel());
  const Tensor x_gradient = device_.output(shape, kF64);
  const Tensor w_gradient = device_.zeros(Shape{6}, kF64);
  backend_.rms_norm_backward(queue_, f64(shape, x), f64(Shape{6}, weight), 1e-2, f64(shape, cotangent),
                             x_gradient, w_gradient);
  const auto loss = [&](const Values& at, const Values& scale) {
    const Tensor out = device_.output(shape, kF64);
    backend_.rms_norm(queue_, f64(shape, at), f64(Shape{6}, scale), 1e-2, out);
    return dot(device_.download(out), cotangent);
  };
  check(
      x, device_.download(x_gradient), [&](const Values& at) { return loss(at, weight); }, "x");
  check(
      weight, device_.download(w_gradient), [&](const Values& at) { return loss(x, at); }, "weight");
}

TEST_F(GradientCheck, GateScores) {
  const ScoreLayout layout = ScoreLayout::prefill(BatchLayout::packed(std::vector<int64_t>{0, 70, 118}), 16);
  const Shape q_shape{layout.num_query_rows, 4, 6};
  const Shape k_shape{layout.num_key_rows, 2, 6};
  const Shape matrix{4, layout.elements};
  const Values q = random_values(9, q_shape.numel());
  const Values k = random_values(10, k_shape.numel());
  Values cotangent = random_values(11, matrix.numel());
  for (const ScoreSegment& s : layout.segments.host) {
    for (int64_t row = 0; row < 4 * s.queries.rows; ++row) {
      for (int64_t j = row % s.queries.rows + 1; j < s.blocks; ++j)
        cotangent[s.matrix * 4 + row * s.blocks + j] = 0;
    }
  }
  const auto args = [&](const Values& queries, const Values& keys) {
    return ScoreArgs{.queries = f64(q_shape, queries),
                     .keys = f64(k_shape, keys),
                     .layout = &layout,
                     .head_count = 4,
                     .scale = 0.4};
  };
  const Tensor q_gradient = device_.output(q_shape, kF64);
  const Tensor k_gradient = device_.zeros(k_shape, kF64);
  backend_.gate_scores_backward(queue_, args(q, k), f64(matrix, cotangent), {q_gradient, k_gradient});
  const auto loss = [&](const Values& queries, const Values& keys) {
    const Tensor scores = device_.zeros(matrix, kF64);
    backend_.gate_scores(queue_, args(queries, keys), scores);
    return dot(device_.download(scores), cotangent);
  };
  check(
      q, device_.download(q_gradient), [&](const Values& at) { return loss(at, k); }, "queries");
  check(
      k, device_.download(k_gradient), [&](const Values& at) { return loss(q, at); }, "keys");
}

/// T like the true one: rows sum to about 1, some elements are 0.
Values some_target(const ScoreLayout& layout, int64_t heads) {
  Values target = random_values(20, heads * layout.elements);
  for (double& value : target)
    value = value < -1.0 ? 0.0 : std::exp(value) / static_cast<double>(layout.max_blocks);
  return target;
}

/// Loss of `scores`, which become their gradient where that is wanted.
double kl(Device& device, const ScoreLayout& layout, int64_t heads, const Tensor& scores,
          LossReduction reduction, bool want_gradient) {
  const Tensor losses = device.zeros(Shape{heads}, kF64);
  KlArgs args{.scores = scores,
              .target = device.upload(scores.shape(), some_target(layout, heads), kF64),
              .layout = &layout,
              .heads = heads,
              .head_count = heads,
              .reduction = reduction,
              .want_gradient = want_gradient,
              .losses = losses};
  args.workspace = device.workspace(device.backend().kl_workspace(args));
  device.backend().kl_loss(device.queue(), args);
  const Values values = device.download(losses);
  return std::accumulate(values.begin(), values.end(), 0.0);
}

TEST_F(GradientCheck, KlLoss) {
  const BatchLayout batch = BatchLayout::packed(std::vector<int64_t>{0, 70, 118});
  for (const LossReduction reduction : {LossReduction::kElements, LossReduction::kRows}) {
    for (const ScoreLayout& layout : {ScoreLayout::prefill(batch, 16), ScoreLayout::decode(batch, 16, 0.5)}) {
      const Shape matrix{2, layout.elements};
      const Values scores = random_values(12, matrix.numel());
      const Tensor gradient = f64(matrix, scores);
      kl(device_, layout, 2, gradient, reduction, true);
      check(
          scores, device_.download(gradient),
          [&](const Values& at) { return kl(device_, layout, 2, f64(matrix, at), reduction, false); },
          "scores");
    }
  }
}

/// Central differences through a whole gate: `run` computes the loss and, if asked, the gradients.
class GateGradient : public GradientCheck {
 protected:
  static constexpr int64_t kHeads = 4;
  static constexpr int64_t kKvHeads = 2;
  static constexpr int64_t kDim = 8;
  static constexpr int64_t kBlock = 16;

  struct Run {
    double loss = 0;
    std::vector<Values> gradients;
  };
  using Weights = std::vector<Values>;

  static void check_gate(const Weights& weights, const std::function<Run(const Weights&, bool)>& run,
                         const std::string& what) {
    const Run analytic = run(weights, true);
    ASSERT_EQ(analytic.gradients.size(), weights.size());
    for (size_t w = 0; w < weights.size(); ++w) {
      check(
          weights[w], analytic.gradients[w],
          [&](const Values& at) {
            Weights moved = weights;
            moved[w] = at;
            return run(moved, false).loss;
          },
          fmt::format("{}, weight {}", what, w));
    }
  }

  Run prefill(const PrefillGateConfig& config, LossReduction reduction, const Weights& weights,
              bool want_gradient) {
    arena_.reset();
    const ScoreLayout layout = ScoreLayout::prefill(batch_, kBlock);
    const RopeTables rope(backend_, queue_, rope_frequencies(RopeConfig{}, config.hidden_size),
                          layout.max_blocks, kBlock, config.key_pieces);
    const bool both = config.has_query_linear();
    GateTensors w;
    GateTensors gradients;
    w.key = f64(config.key_weight(), weights[0]);
    gradients.key = device_.zeros(config.key_weight(), kF64);
    if (both) {
      w.query = f64(config.query_weight(), weights[1]);
      gradients.query = device_.zeros(config.query_weight(), kF64);
    }
    if (config.distance_bias) {
      w.distance = f64(config.distance_weight(), weights.back());
      gradients.distance = device_.zeros(config.distance_weight(), kF64);
    }
    PrefillActivations a =
        prefill_gate_forward(context_, config, w, {q_, k_, &batch_}, layout, rope.table(), want_gradient);
    const Tensor scores = device_.zeros(Shape{kHeads, layout.elements}, kF64);
    ScoreArgs args = prefill_score_args(config, a, layout, 0, kHeads);
    if (config.key_pieces > 1) args.best_piece = device_.workspace(scores.numel()).reshape(scores.shape());
    const Tensor distance_sums = device_.output(Shape{kHeads, layout.max_blocks + 1}, kF64);
    backend_.gate_scores(queue_, args, scores);
    Run out{kl(device_, layout, kHeads, scores, reduction, want_gradient), {}};
    if (want_gradient) {
      backend_.gate_scores_backward(queue_, args, scores,
                                    {a.query_gradient, a.key_gradient, gradients.distance, distance_sums});
      prefill_gate_backward(context_, config, a, layout, rope.table(), gradients);
      out.gradients.push_back(device_.download(gradients.key));
      if (both) out.gradients.push_back(device_.download(gradients.query));
      if (config.distance_bias) out.gradients.push_back(device_.download(gradients.distance));
    }
    return out;
  }

  /// Weights in the order key, query linear, norms of query and key; those the gate has.
  Run decode(const DecodeGateConfig& config, const Weights& weights, bool want_gradient) {
    arena_.reset();
    const ScoreLayout layout = ScoreLayout::decode(batch_, kBlock, 0.25);
    const RopeTables tokens = tables(config.hidden_size, 70, 1);
    const RopeTables blocks = tables(config.hidden_size, layout.max_blocks, kBlock);
    DecodeGateTensors w;
    DecodeGateTensors gradients;
    std::vector<Tensor> all;
    const auto add = [&](Tensor& weight, Tensor& gradient, const Shape& shape) {
      weight = f64(shape, weights[all.size()]);
      gradient = device_.zeros(shape, kF64);
      all.push_back(gradient);
    };
    add(w.key, gradients.key, key_shape(config));
    if (config.head_pooling != HeadPooling::kAvg) add(w.query, gradients.query, query_shape(config));
    if (config.use_qk_norm) {
      add(w.q_norm, gradients.q_norm, Shape{config.hidden_size});
      add(w.k_norm, gradients.k_norm, Shape{config.hidden_size});
    }
    DecodeActivations a =
        decode_gate_forward(context_, config, w, {q_, k_, &batch_}, layout, tokens.table(), blocks.table());
    const Tensor scores = device_.zeros(Shape{kKvHeads, layout.elements}, kF64);
    const ScoreArgs args = decode_score_args(config, a, layout);
    backend_.gate_scores(queue_, args, scores);
    Run out{kl(device_, layout, kKvHeads, scores, LossReduction::kElements, want_gradient), {}};
    if (want_gradient) {
      backend_.gate_scores_backward(queue_, args, scores, {a.query_gradient, a.key_gradient});
      decode_gate_backward(context_, config, w, a, layout, tokens.table(), blocks.table(), gradients);
      for (const Tensor& gradient : all) out.gradients.push_back(device_.download(gradient));
    }
    return out;
  }

  static Shape key_shape(const DecodeGateConfig& c) {
    return {kKvHeads, c.k_pools.count() * kDim, c.hidden_size};
  }
  static Shape query_shape(const DecodeGateConfig& c) {
    return {kKvHeads, (c.head_pooling == HeadPooling::kProj ? c.group() : 1) * kDim, c.hidden_size};
  }

  // Two sequences, the first with a short last block.
  BatchLayout batch_ = BatchLayout::packed(std::vector<int64_t>{0, 70, 118});
  Tensor q_ = f64(Shape{118, kHeads, kDim}, random_values(30, 118 * kHeads * kDim));
  Tensor k_ = f64(Shape{118, kKvHeads, kDim}, random_values(31, 118 * kKvHeads * kDim));
  Arena arena_{backend_.allocate(size_t{4} << 20, Memory::kDevice)};
  LayerContext context_{backend_, queue_, arena_};
};

TEST_F(GateGradient, EveryPrefillGateType) {
  int types = 0;
  for (int q = 1; q < 8; ++q) {
    for (int k = 1; k < 8; ++k) {
      ++types;
      PrefillGateConfig config{
          .type = {{(q & 1) != 0, (q & 2) != 0, (q & 4) != 0}, {(k & 1) != 0, (k & 2) != 0, (k & 4) != 0}},
          .block_size = kBlock,
          .hidden_size = types % 3 == 0 ? 6 : kDim,
          .force_double = types % 4 == 0,
          .num_heads = kHeads,
          .num_kv_heads = kKvHeads,
          .head_dim = kDim};
      const LossReduction reduction = types % 2 == 0 ? LossReduction::kElements : LossReduction::kRows;
      Weights weights = {random_values(40, config.key_weight().numel(), 0.3)};
      if (config.has_query_linear()) weights.push_back(random_values(41, config.query_weight().numel(), 0.3));
      check_gate(
          weights,
          [&](const Weights& at, bool want_gradient) {
            return prefill(config, reduction, at, want_gradient);
          },
          fmt::format("{} d={} force_double={}", to_string(config.type), config.hidden_size,
                      config.force_double));
    }
  }
  EXPECT_EQ(types, 49);
}

TEST_F(GateGradient, PrefillGatesOfOurs) {
  for (const bool both : {false, true}) {
    for (const int64_t pieces : {1, 4}) {
      const PrefillGateConfig config{.type = parse_gate_type("Qavg_Kmaxminavg"),
                                     .block_size = kBlock,
                                     .hidden_size = kDim,
                                     .force_double = both,
                                     .key_pieces = pieces,
                                     .distance_bias = true,
                                     .num_heads = kHeads,
                                     .num_kv_heads = kKvHeads,
                                     .head_dim = kDim};
      Weights weights = {random_values(42, config.key_weight().numel(), 0.3)};
      if (both) weights.push_back(random_values(43, config.query_weight().numel(), 0.3));
      weights.push_back(random_values(44, config.distance_weight().numel(), 0.02));
      check_gate(
          weights,
          [&](const Weights& at, bool want_gradient) {
            return prefill(config, LossReduction::kElements, at, want_gradient);
          },
          fmt::format("{} pieces, both linears {}", pieces, both));
    }
  }
}

TEST_F(GateGradient, EveryDecodeGate) {
  for (const HeadPooling pooling : {HeadPooling::kProj, HeadPooling::kAvgProj, HeadPooling::kAvg}) {
    for (int bits = 0; bits < 4; ++bits) {
      const DecodeGateConfig config{.head_pooling = pooling,
                                    .k_pools = {true, bits % 2 == 0, true},
                                    .block_size = kBlock,
                                    .hidden_size = pooling == HeadPooling::kAvg ? kDim : 6,
                                    .use_qk_norm = (bits & 1) != 0,
                                    .use_rope = (bits & 2) != 0,
                                    .num_heads = kHeads,
                                    .num_kv_heads = kKvHeads,
                                    .head_dim = kDim};
      Weights weights = {random_values(50, key_shape(config).numel(), 0.3)};
      if (pooling != HeadPooling::kAvg)
        weights.push_back(random_values(51, query_shape(config).numel(), 0.3));
      if (config.use_qk_norm) {
        weights.push_back(random_values(52, config.hidden_size));
        weights.push_back(random_values(53, config.hidden_size));
      }
      check_gate(
          weights, [&](const Weights& at, bool want_gradient) { return decode(config, at, want_gradient); },
          fmt::format("pooling {} norm={} rope={}", static_cast<int>(pooling), config.use_qk_norm,
                      config.use_rope));
    }
  }
}

}  // namespace
}  // namespace seer::test
