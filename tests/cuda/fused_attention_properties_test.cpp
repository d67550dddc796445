// What holds for the fused attention kernels whatever the input: bits that depend on neither what else is computed nor
// on neighbours, NaN that reaches the rows it must, shapes that are refused.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/cuda/fused_attention_case.h"

namespace seer::test {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

using PathAndDim = std::tuple<Path, int64_t>;

class FusedProperties : public testing::TestWithParam<PathAndDim> {
 protected:
  AttentionCase make_case(const Pack& pack, int64_t block) const {
    return {"property", 4, 2, std::get<1>(GetParam()), pack, block};
  }

  Device device_ = make_device(std::get<0>(GetParam()));
};

TEST_P(FusedProperties, WhatIsNotWantedChangesNoBit) {
  const AttentionCase c = make_case(whole({300, 65}), 32);
  const AttentionProblem problem = problem_of(c);
  const FusedResult all = run_attention(device_, c, problem);
  for (const bool output : {false, true}) {
    for (const bool logsumexp : {false, true}) {
      for (const bool maxima : {false, true}) {
        SCOPED_TRACE(fmt::format("output {} logsumexp {} maxima {}", output, logsumexp, maxima));
        if (!output && !logsumexp && !maxima) continue;
        const FusedResult some = run_attention(device_, c, problem, {output, logsumexp, maxima, {}});
        EXPECT_TRUE(!output || same_bits(some.output, all.output));
        EXPECT_TRUE(!logsumexp || same_bits(some.logsumexp, all.logsumexp));
        EXPECT_TRUE(!maxima || same_bits(some.block_log_max, all.block_log_max));
      }
    }
  }
}

TEST_P(FusedProperties, BlockSizesAgreeBitForBit) {
  const Pack pack = whole({300, 65, 128, 17});
  const std::vector<int64_t> sizes = {16, 32, 64, 128};
  const AttentionProblem problem = problem_of(make_case(pack, 16));
  const FusedResult fine = run_attention(device_, make_case(pack, 16), problem, {.coarser = sizes});
  for (size_t i = 0; i < sizes.size(); ++i) {
    SCOPED_TRACE(sizes[i]);
    const FusedResult direct = run_attention(device_, make_case(pack, sizes[i]), problem);
    EXPECT_TRUE(same_bits(fine.targets[i], direct.target));
    EXPECT_TRUE(same_bits(fine.output, direct.output));
    EXPECT_TRUE(same_bits(fine.logsumexp, direct.logsumexp));
  }
}

TEST_P(FusedProperties, HeadsDoNotDependOnTheRangeTheyAreComputedIn) {
  AttentionCase c = make_case(whole({300, 65}), 32);
  const AttentionProblem problem = problem_of(c);
  const FusedResult all = run_attention(device_, c, problem);
  const std::vector<Matrix> matrices = matrices_of(c.pack, ScoreKind::kPrefill, c.block);
  c.head_count = 1;
  for (int64_t head = 0; head < c.heads; ++head) {
    SCOPED_TRACE(head);
    c.head_begin = head;
    const FusedResult one = run_attention(device_, c, problem);
    for (const Matrix& m : matrices) {
      EXPECT_TRUE(std::equal(one.block_log_max.begin() + m.before,
                             one.block_log_max.begin() + m.before + m.rows * m.blocks,
                             all.block_log_max.begin() + m.offset(c.heads, head, 0)));
    }
    for (size_t at = 0; at < one.output.size(); ++at) {
      const int64_t token = static_cast<int64_t>(at) / c.head_dim;
      ASSERT_EQ(one.output[at], all.output[(token * c.heads + head) * c.head_dim + at % c.head_dim]);
    }
  }
}

TEST_P(FusedProperties, ASequenceDoesNotDependOnItsNeighbours) {
  const int64_t head_dim = std::get<1>(GetParam());
  const AttentionCase alone = make_case(whole({130}), 16);
  const AttentionProblem problem = problem_of(alone);
  const FusedResult expected = run_attention(device_, alone, problem);
  const AttentionCase packed = make_case(whole({77, 130, 50}), 16);
  AttentionProblem pack = problem_of(packed);
  std::ranges::copy(problem.q, pack.q.begin() + 77 * packed.heads * head_dim);
  std::ranges::copy(problem.k, pack.k.begin() + 77 * packed.kv_heads * head_dim);
  std::ranges::copy(problem.v, pack.v.begin() + 77 * packed.kv_heads * head_dim);
  // Its neighbours are lost altogether.
  for (const int64_t token : {0, 76, 207, 256}) {
    std::fill_n(pack.q.begin() + token * packed.heads * head_dim, packed.heads * head_dim, kNaN);
    std::fill_n(pack.k.begin() + token * packed.kv_heads * head_dim, packed.kv_heads * head_dim, kNaN);
  }
  const FusedResult actual = run_attention(device_, packed, pack);
  const Matrix m = matrices_of(packed.pack, ScoreKind::kPrefill, 16)[1];
  const auto first = actual.target.begin() + m.before * packed.heads;
  EXPECT_TRUE(std::equal(expected.target.begin(), expected.target.end(), first));
  EXPECT_TRUE(std::equal(expected.output.begin(), expected.output.end(),
                         actual.output.begin() + 77 * packed.heads * head_dim));
}

TEST_P(FusedProperties, NaNReachesTheRowsThatItMustAndNoOthers) {
  constexpr int64_t kTokens = 300;
  const int64_t head_dim = std::get<1>(GetParam());
  for (const int64_t block : {16, 128}) {
    const AttentionCase c = make_case(whole({kTokens}), block);
    const Matrix m = matrices_of(c.pack, ScoreKind::kPrefill, block).front();
    const AttentionProblem good = problem_of(c);
    /// Expects NaN in the rows where lost(head, token) says so: whole rows of o, and whole rows of T below
    /// the diagonal for blocks that hold such a token.
    const auto expect_lost = [&](const AttentionProblem& problem, const auto& lost) {
      const FusedResult out = run_attention(device_, c, problem);
      for (int64_t head = 0; head < c.heads; ++head) {
        std::vector<bool> block_lost(m.rows);
        for (int64_t token = 0; token < kTokens; ++token) {
          if (lost(head, token)) block_lost[token / block] = true;
          for (int64_t e = 0; e < head_dim; ++e) {
            ASSERT_EQ(std::isnan(out.output[(token * c.heads + head) * head_dim + e]), lost(head, token))
                << "o of head " << head << " token " << token;
          }
          ASSERT_EQ(std::isnan(out.logsumexp[head * kTokens + token]), lost(head, token))
              << "logsumexp of head " << head << " token " << token;
        }
        for (int64_t i = 0; i < m.rows; ++i) {
          for (int64_t j = 0; j < m.blocks; ++j) {
            ASSERT_EQ(std::isnan(out.target[m.offset(c.heads, head, i) + j]), j <= i && block_lost[i])
                << "T of head " << head << " at " << i << ", " << j;
          }
        }
      }
    };
    for (const int64_t bad : {0, 15, 100, 127, 128, 299}) {
      SCOPED_TRACE(fmt::format("block {} token {}", block, bad));
      AttentionProblem problem = good;
      problem.q[(bad * c.heads + 1) * head_dim + 3] = kNaN;
      expect_lost(problem, [&](int64_t head, int64_t token) { return head == 1 && token == bad; });
      problem = good;
      problem.k[(bad * c.kv_heads + 1) * head_dim + head_dim - 1] = kNaN;  // query heads 2 and 3
      expect_lost(problem, [&](int64_t head, int64_t token) { return head >= 2 && token >= bad; });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, FusedProperties,
                         testing::Combine(testing::ValuesIn(kPaths),
                                          testing::Values(16, 32, 64, 96, 128, 256)),
                         [](const testing::TestParamInfo<PathAndDim>& test) {
                           return fmt::format("{}_d{}", name_of(std::get<0>(test.param)),
                                              std::get<1>(test.param));
                         });

TEST(FusedAttentionRefuses, HeadDimsThatNoKernelTakes) {
  for (const Path path : kPaths) {
    Device device = make_device(path);
    const AttentionCase c{"d80", 2, 1, 80, whole({20})};
    try {
      run_attention(device, c, problem_of(c));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("head_dim 80"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace seer::test
