// One layer's sparse attention: against dense attention, against attention over chosen blocks in double, and that ranges
// of heads change nothing.
#include "src/sparse/sparse_layer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "src/model/rope.h"
#include "tests/sparse/layer_problem.h"
#include "tests/support/tiny_model.h"

namespace seer::test {
namespace {

using Kind = ScoringMethod::Kind;
using P = LayerProblem;

const std::vector<std::string> kUntrained = {"oracle", "minmax", "mean", "antidiagonal8", "window", "random"};

SelectionRule ratio(double value) {
  return {.by = SelectBy::kNzRatio, .value = value};
}

TEST(SparseLayer, AllBlocksAreDenseAttention) {
  P problem(1);
  const std::vector<float> dense = problem.attend({});
  for (const std::string& name : kUntrained) {
    const ScoringMethod method = parse_scoring_method(name);
    EXPECT_LE(relative_error(problem.attend({.method = &method, .rule = ratio(1.0)}), dense),
              problem.tolerance(2e-6))
        << name;
  }
}

TEST(SparseLayer, AttendsToTheChosenBlocksAlone) {
  P problem(2);
  const ScoringMethod method{.kind = Kind::kMeanPooled};
  const std::vector<float> scores = problem.scores(method);
  const int64_t most = blocks_a_row(SelectBy::kNzRatio, 0.5, P::kBlocks, P::kBlock);
  ASSERT_GT(most, 1);
  ASSERT_LT(most, P::kBlocks);
  std::vector<double> expected;
  for (int64_t t = 0; t < P::kTokens; ++t) {
    const int64_t i = t / P::kBlock;
    for (int64_t head = 0; head < P::kHeads; ++head) {
      std::vector<int64_t> order(i);  // the diagonal is kept, and counts
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return scores[P::at(head, i, a)] > scores[P::at(head, i, b)];
      });
      order.resize(std::min<size_t>(order.size(), most - 1));
      order.push_back(i);
      std::vector<double> output(P::kDim, 0.0);
      double sum = 0;
      for (const int64_t j : order) {
        for (int64_t s = P::begin(j); s < std::min(P::end(j), t + 1); ++s) {
          const double weight = std::exp(problem.dot(t, s, head) / std::sqrt(static_cast<double>(P::kDim)));
          sum += weight;
          for (int64_t e = 0; e < P::kDim; ++e) output[e] += weight * problem.v(s, head, e);
        }
      }
      for (const double value : output) expected.push_back(value / sum);
    }
  }
  const std::vector<float> actual = problem.attend({.method = &method, .rule = ratio(0.5)});
  EXPECT_LE(relative_error(std::vector<double>(actual.begin(), actual.end()), expected),
            problem.tolerance(1e-5));
}

TEST(SparseLayer, RangesOfHeadsChangeNothing) {
  P problem(3);
  const DeviceTensor values(problem.backend(), problem.queue(), Shape{P::kHeads},
                            std::vector<float>{0.1F, 0.3F, 0.5F, 0.9F});
  for (const std::string& name : kUntrained) {
    const ScoringMethod method = parse_scoring_method(name);
    std::vector<std::vector<float>> outputs;
    std::vector<std::vector<double>> kept;
    for (const size_t bytes : {size_t{1} << 30, size_t{0}}) {
      problem.context().score_bytes = bytes;  // 0: one kv group at a time
      const DeviceTensor counts(problem.backend(), Shape{P::kHeads}, DType::kF64);
      problem.backend().fill_zero(problem.queue(), counts);
      outputs.push_back(
          problem.attend({.method = &method, .rule = ratio(0.2), .values = values, .kept = counts}, 5));
      kept.push_back(download_f64(problem.backend(), problem.queue(), counts));
    }
    EXPECT_EQ(outputs[0], outputs[1]) << name;
    EXPECT_EQ(kept[0], kept[1]) << name;
    for (int64_t head = 1; head < P::kHeads; ++head)
      EXPECT_GT(kept[0][head], kept[0][head - 1]) << name << ": each head has a share of its own";
  }
}

TEST(SparseLayer, TheOracleKeepsNoDiagonalForItself) {
  const SelectionRule rule = ratio(0.3);
  SelectionRule with_blocks{.sink_blocks = 1, .local_blocks = 2};
  SelectionRule of_oracle = rule_for({.kind = Kind::kOracle}, with_blocks);
  EXPECT_FALSE(of_oracle.always_diagonal);
  EXPECT_EQ(of_oracle.sink_blocks, 0);
  EXPECT_EQ(of_oracle.local_blocks, 0);
  EXPECT_EQ(of_oracle.min_blocks, 3) << "but as many";
  with_blocks.local_blocks = 0;
  EXPECT_EQ(rule_for({.kind = Kind::kOracle}, with_blocks).min_blocks, 2) << "the diagonal";
  with_blocks.min_blocks = 9;
  EXPECT_EQ(rule_for({.kind = Kind::kOracle}, with_blocks).min_blocks, 9);
  with_blocks.by = SelectBy::kThreshold;
  with_blocks.min_blocks = 0;
  EXPECT_EQ(rule_for({.kind = Kind::kOracle}, with_blocks).min_blocks, 0);
  EXPECT_EQ(rule_for({.kind = Kind::kGate}, rule), rule);
}

TEST(SparseLayer, ACachedKeyIsTheComputedOne) {
  P problem(4);
  const LayerHeads& plain = problem.heads();
  const RopeTables rope(problem.backend(), problem.queue(),
                        rope_frequencies(parse_model_config(tiny_config_json({}), "tiny").rope, P::kDim),
                        P::kTokens);
  const DType act = problem.backend().activation_dtype();
  const DeviceTensor keys(problem.backend(), Shape{P::kTokens + 9, P::kKvHeads, P::kDim}, act);
  const DeviceTensor values(problem.backend(), Shape{P::kTokens + 9, P::kKvHeads, P::kDim}, act);
  LayerContext& context = problem.context();
  const LayerHeads computed =
      rotate_heads(context, plain.q_pre, plain.k_pre, plain.v, *plain.batch, rope.table());
  const LayerHeads cached =
      rotate_heads(context, plain.q_pre, plain.k_pre, plain.v, *plain.batch, rope.table(),
                   keys.get().slice_rows(4, P::kTokens), values.get().slice_rows(4, P::kTokens));
  const auto read = [&](ConstTensor x) { return download(problem.backend(), problem.queue(), x); };
  EXPECT_EQ(read(computed.q), read(cached.q));
  EXPECT_EQ(read(computed.k), read(keys.get().slice_rows(4, P::kTokens)));
  EXPECT_EQ(read(plain.v), read(values.get().slice_rows(4, P::kTokens)));
  EXPECT_NE(read(computed.k), read(plain.k_pre));
}

}  // namespace
}  // namespace seer::test
