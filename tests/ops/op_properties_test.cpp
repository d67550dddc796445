// What must hold between operations, or for one of them whatever its input: equal bits, rows that sum to 1,
// NaN that is not lost.
#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "tests/ops/device.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class OpProperties : public ::testing::TestWithParam<BackendChoice> {
 protected:
  struct Attention {
    Values output;
    Values log_max;
    std::vector<Values> targets;  ///< Of each block size asked for
  };

  /// Attention of all heads with maxima of `fine` blocks (0: none), and T for each of `coarse`.
  Attention attention(const Pack& pack, const Values& q, const Values& k, int64_t fine,
                      const std::vector<int64_t>& coarse, int64_t head_begin = 0, int64_t head_count = kHeads,
                      bool want_output = true) {
    const int64_t tokens = key_tokens(pack);
    BatchLayout batch = layout_of(pack);
    device_.prepare(batch);
    AttentionArgs args{
        .q = device_.upload(Shape{tokens, kHeads, kDim}, q),
        .k = device_.upload(Shape{tokens, kKvHeads, kDim}, k),
        .v = device_.upload(Shape{tokens, kKvHeads, kDim}, random_values(3, tokens * kKvHeads * kDim)),
        .layout = &batch,
        .head_begin = head_begin,
        .head_count = head_count,
        .scale = 0.25F};
    if (want_output) args.output = device_.zeros(args.q.shape());
    ScoreLayout blocks;
    if (fine > 0) {
      blocks = ScoreLayout::prefill(batch, fine);
      device_.prepare(blocks);
      args.blocks = &blocks;
      args.block_log_max = device_.output(Shape{head_count, blocks.elements});
    }
    args.workspace = device_.workspace(device_.backend().attention_workspace(args));
    device_.backend().attention(device_.queue(), args);
    Attention out;
    if (want_output) out.output = device_.download(args.output);
    if (fine > 0) out.log_max = device_.download(args.block_log_max);
    for (const int64_t block : coarse) {
      ScoreLayout layout = ScoreLayout::prefill(batch, block);
      device_.prepare(layout);
      const Tensor target = device_.output(Shape{head_count, layout.elements});
      device_.backend().normalise_target(device_.queue(), args.block_log_max, blocks, layout, head_count,
                                         target);
      out.targets.push_back(device_.download(target));
    }
    return out;
  }
  Values q(const Pack& pack) const { return random_values(1, key_tokens(pack) * kHeads * kDim, 2.0); }
  Values k(const Pack& pack) const { return random_values(2, key_tokens(pack) * kKvHeads * kDim); }

  static constexpr int64_t kHeads = 4;
  static constexpr int64_t kKvHeads = 2;
  static constexpr int64_t kDim = 16;

  Device device_{GetParam().make()};
};

TEST_P(OpProperties, TargetsOfCoarserBlocksAreThoseOfAttentionWithCoarserBlocks) {
  const Pack pack = whole({300, 65, 128, 17});
  const std::vector<int64_t> sizes = {16, 32, 64, 128};
  const Attention fine = attention(pack, q(pack), k(pack), 16, sizes);
  for (size_t i = 0; i < sizes.size(); ++i) {
    const Attention coarse = attention(pack, q(pack), k(pack), sizes[i], {sizes[i]});
    EXPECT_EQ(fine.targets[i], coarse.targets[0]) << "blocks of " << sizes[i];
    EXPECT_EQ(fine.output, coarse.output) << "blocks of " << sizes[i];
  }
}

TEST_P(OpProperties, RowsOfTheTargetSumToOneAndAreZeroAboveTheDiagonal) {
  const Pack pack = whole({515, 33, 5});
  for (const int64_t block : {16, 64}) {
    const Attention out = attention(pack, q(pack), k(pack), 16, {block});
    for (const Matrix& m : matrices_of(pack, ScoreKind::kPrefill, block)) {
      for (int64_t row = 0; row < kHeads * m.rows; ++row) {
        double sum = 0;
        for (int64_t j = 0; j < m.blocks; ++j) {
          const double value = out.targets[0][m.before * kHeads + row * m.blocks + j];
          if (j > row % m.rows) {
            ASSERT_EQ(value, 0.0);
          } else {
            ASSERT_GE(value, 0.0);
          }
          sum += value;
        }
        ASSERT_NEAR(sum, 1.0, 1e-6);
      }
    }
  }
}

TEST_P(OpProperties, AttentionIsTheSameBitsWhateverElseIsAskedFor) {
  const Pack pack = whole({300, 65});
  const Attention both = attention(pack, q(pack), k(pack), 32, {});
  EXPECT_EQ(attention(pack, q(pack), k(pack), 0, {}).output, both.output);
  EXPECT_EQ(attention(pack, q(pack), k(pack), 32, {}, 0, kHeads, false).log_max, both.log_max);
  const int64_t elements = static_cast<int64_t>(both.log_max.size()) / kHeads;
  const std::vector<Matrix> matrices = matrices_of(pack, ScoreKind::kPrefill, 32);
  for (int64_t head = 0; head < kHeads; ++head) {
    const Attention one = attention(pack, q(pack), k(pack), 32, {}, head, 1);
    ASSERT_EQ(static_cast<int64_t>(one.log_max.size()), elements);
    for (const Matrix& m : matrices) {
      for (int64_t at = 0; at < m.rows * m.blocks; ++at) {
        ASSERT_EQ(one.log_max[m.before + at], both.log_max[m.offset(kHeads, head, 0) + at]);
      }
    }
    for (size_t at = 0; at < both.output.size(); ++at) {
      if (static_cast<int64_t>(at) / kDim % kHeads == head) {
        ASSERT_EQ(one.output[at], both.output[at]);
      }
    }
  }
}

TEST_P(OpProperties, ASequenceDoesNotDependOnItsNeighbours) {
  const Pack alone = whole({130});
  const Values query = random_values(7, 130 * kHeads * kDim);
  const Values key = random_values(8, 130 * kKvHeads * kDim);
  const Attention expected = attention(alone, query, key, 16, {16});
  // The same sequence behind another one.
  const Pack pack = whole({77, 130});
  Values packed_q = random_values(9, 77 * kHeads * kDim);
  Values packed_k = random_values(10, 77 * kKvHeads * kDim);
  packed_q.insert(packed_q.end(), query.begin(), query.end());
  packed_k.insert(packed_k.end(), key.begin(), key.end());
  const Attention actual = attention(pack, packed_q, packed_k, 16, {16});
  EXPECT_TRUE(std::equal(expected.targets[0].begin(), expected.targets[0].end(),
                         actual.targets[0].end() - static_cast<int64_t>(expected.targets[0].size())));
}

TEST_P(OpProperties, NaNInQueriesOrKeysReachesTheTarget) {
  const Pack pack = whole({300});
  for (const int64_t token : {0, 100, 127, 128, 299}) {
    Values bad = q(pack);
    bad[token * kHeads * kDim + kDim + 3] = kNaN;  // head 1
    const Attention out = attention(pack, bad, k(pack), 16, {64});
    // The block row of that token is lost, the others are not.
    for (int64_t i = 0; i < 5; ++i) {
      EXPECT_EQ(std::isnan(out.targets[0][(5 + i) * 5]), i == token / 64)
          << "token " << token << " row " << i;
    }
    Values bad_key = k(pack);
    bad_key[token * kKvHeads * kDim + kDim] = kNaN;  // kv head 1: query heads 2 and 3
    const Attention later = attention(pack, q(pack), bad_key, 16, {64});
    for (int64_t i = 0; i < 5; ++i) {
      EXPECT_FALSE(std::isnan(later.targets[0][(5 + i) * 5]));
      EXPECT_EQ(std::isnan(later.targets[0][(2 * 5 + i) * 5]), i >= token / 64)
          << "token " << token << " row " << i;
    }
  }
}

TEST_P(OpProperties, NaNReachesEveryPool) {
  Table<RowSpan> rows{{{0, 40, 0}}, {}};
  device_.prepare(rows);
  for (const int64_t token : {0, 7, 15, 16, 39}) {
    Values x = random_values(11, 40 * 1 * 9);
    x[token * 9 + 8] = kNaN;
    const Tensor out = device_.output(Shape{3, 1, 27});
    device_.backend().pool_blocks(device_.queue(), device_.upload(Shape{40, 1, 9}, x), rows, 16, 1,
                                  {true, true, true}, out);
    const Values pooled = device_.download(out);
    for (int64_t at = 0; at < static_cast<int64_t>(pooled.size()); ++at) {
      EXPECT_EQ(std::isnan(pooled[at]), at / 27 == token / 16 && at % 9 == 8)
          << "token " << token << " at " << at;
    }
  }
}

/// Loss per head of one sequence of 16 * blocks tokens.
Values kl(Device& device, const Values& scores, const Values& target, int64_t blocks) {
  ScoreLayout layout = ScoreLayout::prefill(BatchLayout::packed(std::vector<int64_t>{0, 16 * blocks}), 16);
  device.prepare(layout);
  const Tensor losses = device.zeros(Shape{1}, DType::kF64);
  KlArgs args{.scores = device.upload(Shape{1, blocks * blocks}, scores),
              .target = device.upload(Shape{1, blocks * blocks}, target),
              .layout = &layout,
              .heads = 1,
              .head_count = 1,
              .losses = losses};
  args.workspace = device.workspace(device.backend().kl_workspace(args));
  device.backend().kl_loss(device.queue(), args);
  return device.download(losses);
}

TEST_P(OpProperties, ANaNScoreOrTargetReachesTheLoss) {
  constexpr int64_t kBlocks = 8;
  for (int64_t i = 2; i < kBlocks; ++i) {  // rows that count
    for (int64_t j = 0; j < kBlocks; ++j) {
      Values scores = random_values(12, kBlocks * kBlocks);
      Values target(kBlocks * kBlocks, 0.0);
      for (int64_t row = 0; row < kBlocks; ++row)
        target[row * kBlocks] = 1.0;  // T is 0 but in the first block
      scores[i * kBlocks + j] = kNaN;
      EXPECT_EQ(std::isnan(kl(device_, scores, target, kBlocks)[0]), j <= i) << i << " " << j;
      scores = random_values(12, kBlocks * kBlocks);
      target[i * kBlocks + j] = kNaN;
      EXPECT_EQ(std::isnan(kl(device_, scores, target, kBlocks)[0]), j <= i) << i << " " << j;
    }
  }
}

TEST_P(OpProperties, TheLossIsZeroWhereTheGateAgrees) {
  constexpr int64_t kBlocks = 5;
  Values scores(kBlocks * kBlocks, -3.0);
  Values target(kBlocks * kBlocks, 0.0);
  for (int64_t i = 0; i < kBlocks; ++i) {
    for (int64_t j = 0; j <= i; ++j)
      target[i * kBlocks + j] = static_cast<float>(1.0 / static_cast<double>(i + 1));
  }
  EXPECT_NEAR(kl(device_, scores, target, kBlocks)[0], 0.0, 1e-8);
  target[4 * kBlocks] += 0.1F;
  EXPECT_GT(kl(device_, scores, target, kBlocks)[0], 1e-4);
}

INSTANTIATE_TEST_SUITE_P(All, OpProperties, ::testing::ValuesIn(backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace seer::test
