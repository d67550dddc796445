// The fused attention kernels in bf16, the portable one and the one that this GPU takes by itself, against fp64:
// output, logsumexp, block maxima and the T they give, over shapes, packs, heads and extreme scores.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/cuda/fused_attention_case.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

void expect_same_bits(const FusedResult& a, const FusedResult& b) {
  EXPECT_TRUE(same_bits(a.output, b.output));
  EXPECT_TRUE(same_bits(a.logsumexp, b.logsumexp));
  EXPECT_TRUE(same_bits(a.block_log_max, b.block_log_max));
  EXPECT_TRUE(same_bits(a.target, b.target));
}

/// All of it within 2.5e-3, each row (of one token and head) within 1e-2.
void expect_output(const Values& actual, const Values& expected, int64_t head_dim) {
  ASSERT_EQ(actual.size(), expected.size());
  EXPECT_LE(relative_error(actual, expected), 2.5e-3);
  for (size_t at = 0; at < actual.size(); at += head_dim) {
    ASSERT_LE(
        relative_error(std::span(actual).subspan(at, head_dim), std::span(expected).subspan(at, head_dim)),
        1e-2)
        << "row " << at / head_dim;
  }
}

void expect_logarithms(const Values& actual, const Values& expected, double smallest, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (expected[i] == -std::numeric_limits<double>::infinity()) {
      ASSERT_EQ(actual[i], expected[i]) << "element " << i << " is above the diagonal";
    } else if (expected[i] >= smallest) {
      ASSERT_NEAR(actual[i], expected[i], tolerance * std::max(1.0, std::abs(expected[i])))
          << "element " << i;
    } else {
      ASSERT_LE(actual[i], 0.5 * smallest) << "element " << i;
    }
  }
}

// The sums of a tensor core are off by some 1e-7 of their largest terms, which exp makes a relative error of T.
double target_tolerance(const AttentionCase& c) {
  return c.content == Content::kRandom || c.content == Content::kFlat ? 1e-5 : 5e-5;
}

void expect_result(const AttentionCase& c, const FusedResult& actual, const AttentionResult& expected,
                   const Wanted& wanted = {}) {
  const double tolerance = target_tolerance(c);
  EXPECT_TRUE(actual.only_heads_of_the_range);
  if (wanted.output) expect_output(actual.output, expected.output, c.head_dim);
  if (wanted.logsumexp) {
    EXPECT_LE(relative_error(actual.logsumexp, expected.logsumexp), 1e-5);
    expect_logarithms(actual.logsumexp, expected.logsumexp, -1e9, 1e-5);
  }
  if (wanted.maxima) {
    EXPECT_LE(relative_error(actual.target, expected.target), tolerance);
    expect_logarithms(actual.block_log_max, expected.block_log_max, std::log(1e-30), tolerance);
  }
}

std::vector<AttentionCase> all_cases() {
  std::vector<AttentionCase> cases;
  for (const int64_t length : {1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 144, 300, 515, 1000}) {
    for (const int64_t head_dim : {64, 128}) {
      cases.push_back({fmt::format("d{}_length_{}", head_dim, length), 2, 1, head_dim, whole({length}),
                       length % 2 == 0 ? 16 : 64});
    }
  }
  for (const int64_t head_dim : {16, 32, 64, 96, 128, 256}) {
    for (const int64_t block : {16, 32, 64, 128}) {
      cases.push_back(
          {fmt::format("d{}_block_{}", head_dim, block), 2, 1, head_dim, whole({300, block + 1, 17}), block});
    }
  }
  // Chunks of long sequences, as context parallelism and chunked prefill make them.
  const Pack chunks = {{300, {{128, 128}, {256, 44}}}, {77, {{0, 77}}}, {640, {{64, 64}, {512, 128}}}};
  const Pack uneven = {{301, {{48, 160}, {288, 13}}}, {50, {{16, 32}}}};
  for (const int64_t head_dim : {32, 64, 128, 256}) {
    const std::string d = fmt::format("d{}_", head_dim);
    cases.push_back({d + "pack", 2, 1, head_dim, whole({1, 2, 3, 15, 16, 17, 64, 65, 128, 129, 5, 200}), 16});
    cases.push_back({d + "pack_block_128", 2, 1, head_dim, whole({129, 1, 300, 127, 128}), 128});
    cases.push_back({d + "chunks", 2, 1, head_dim, chunks, 64});
    cases.push_back({d + "chunks_block_16", 2, 1, head_dim, uneven, 16});
    for (const int64_t group : {1, 4, 5, 7, 8}) {
      cases.push_back({fmt::format("{}r{}", d, group), 2 * group, 2, head_dim, whole({140}), 32});
    }
    cases.push_back({d + "one_kv_head_of_r4", 8, 2, head_dim, whole({150, 70}), 32, Content::kRandom, 4, 4});
    cases.push_back(
        {d + "heads_across_groups", 6, 2, head_dim, whole({150, 70}), 32, Content::kRandom, 1, 3});
    cases.push_back({d + "one_head", 6, 3, head_dim, chunks, 64, Content::kRandom, 3, 1});
    cases.push_back({d + "scores_of_60", 2, 1, head_dim, whole({300, 129}), 32, Content::kScoresOf60});
    cases.push_back({d + "plus_minus_60", 2, 1, head_dim, whole({300, 129}), 16, Content::kPlusMinus});
    cases.push_back({d + "flat", 2, 1, head_dim, whole({300, 129}), 64, Content::kFlat});
    cases.push_back({d + "one_key", 2, 1, head_dim, whole({300, 129}), 32, Content::kOneKey});
    cases.push_back({d + "growing", 2, 1, head_dim, whole({515}), 64, Content::kGrowing});
    cases.push_back({d + "shrinking", 2, 1, head_dim, whole({515}), 64, Content::kShrinking});
  }
  return cases;
}

class FusedAttention : public testing::TestWithParam<std::tuple<Path, AttentionCase>> {
 protected:
  /// Both paths are judged by the same one.
  static const AttentionResult& reference(const AttentionCase& c, const AttentionProblem& problem) {
    static std::map<std::string, AttentionResult> known;
    const auto it = known.find(c.name);
    if (it != known.end()) return it->second;
    return known[c.name] = reference_attention(problem, c.head_begin, heads_computed(c), c.block);
  }
};

TEST_P(FusedAttention, MatchesFp64) {
  const auto& [path, c] = GetParam();
  Device device = make_device(path);
  const AttentionProblem problem = problem_of(c);
  const FusedResult actual = run_attention(device, c, problem);
  expect_result(c, actual, reference(c, problem));
  expect_same_bits(actual, run_attention(device, c, problem));
}

INSTANTIATE_TEST_SUITE_P(All, FusedAttention,
                         testing::Combine(testing::ValuesIn(kPaths), testing::ValuesIn(all_cases())),
                         [](const auto& test) {
                           return fmt::format("{}_{}", name_of(std::get<0>(test.param)),
                                              std::get<1>(test.param).name);
                         });

}  // namespace
}  // namespace seer::test
