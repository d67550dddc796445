// The fused attention kernels in bf16, the portable one and the one that this GPU takes by itself, against fp64:
// output, logsumexp, block maxima and the T they give, over shapes, packs, heads and extreme scores. And the kernel that takes
// their place where a call is of single rows, as decoding makes them.
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

constexpr int64_t kOneBlock = int64_t{1} << 20;  // block maxima are not wanted of single rows
const Wanted kNoMaxima = {.maxima = false};

PackedSequence last_row(int64_t length) {
  return {length, {{length - 1, 1}}};
}

std::vector<AttentionCase> cases_of_single_rows() {
  Pack sixteen;
  for (const int64_t length : {1, 2, 15, 16, 17, 31, 33, 127, 128, 129, 130, 300, 1000, 1025, 4000, 700})
    sixteen.push_back(last_row(length));
  Pack seventeen = sixteen;  // more than the decode kernel takes
  seventeen.push_back(last_row(77));
  std::vector<AttentionCase> cases;
  for (const int64_t head_dim : {32, 64, 128}) {  // 32: there is no decode kernel
    const std::string d = fmt::format("d{}_row_", head_dim);
    const auto add = [&](const std::string& name, int64_t heads, int64_t kv_heads, const Pack& pack,
                         Content content = Content::kRandom, int64_t head_begin = 0, int64_t head_count = 0) {
      cases.push_back(
          {d + name, heads, kv_heads, head_dim, pack, kOneBlock, content, head_begin, head_count});
    };
    add("sixteen", 4, 2, sixteen);
    add("seventeen", 4, 2, seventeen);
    add("long", 8, 2, {last_row(20011)});
    add("inside", 4, 2, {{5000, {{1234, 1}}}, {300, {{99, 1}, {298, 1}}}});
    for (const int64_t group : {1, 2, 5, 7, 8, 9, 16, 20})
      add(fmt::format("r{}", group), 2 * group, 2, {last_row(515), last_row(1300)});
    add("many_kv_heads", 80, 80, {last_row(700), last_row(90)});
    add("more_kv_heads_than_multiprocessors", 200, 200, {last_row(300), last_row(7)});
    add("one_kv_head_of_r4", 8, 2, {last_row(1500)}, Content::kRandom, 4, 4);
    add("heads_across_groups", 6, 2, {last_row(1500), last_row(70)}, Content::kRandom, 1, 3);
    add("heads_across_slots", 32, 2, {last_row(1500), last_row(70)}, Content::kRandom, 5, 20);
    add("one_head", 6, 3, {last_row(1500)}, Content::kRandom, 3, 1);
    const Pack two = {last_row(515), last_row(3000)};
    add("scores_of_60", 4, 2, two, Content::kScoresOf60);
    add("plus_minus_60", 4, 2, two, Content::kPlusMinus);
    add("flat", 4, 2, two, Content::kFlat);
    add("one_key", 4, 2, two, Content::kOneKey);
    add("growing", 4, 2, two, Content::kGrowing);
    add("shrinking", 4, 2, two, Content::kShrinking);
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

class SingleRows : public FusedAttention {};

TEST_P(SingleRows, MatchFp64) {
  const auto& [path, c] = GetParam();
  Device device = make_device(path);
  const AttentionProblem problem = problem_of(c);
  const FusedResult actual = run_attention(device, c, problem, kNoMaxima);
  expect_result(c, actual, reference(c, problem), kNoMaxima);
  expect_same_bits(actual, run_attention(device, c, problem, kNoMaxima));
  const FusedResult output = run_attention(device, c, problem, {.logsumexp = false, .maxima = false});
  EXPECT_TRUE(same_bits(output.output, actual.output));
}

INSTANTIATE_TEST_SUITE_P(
    All, SingleRows, testing::Combine(testing::ValuesIn(kPaths), testing::ValuesIn(cases_of_single_rows())),
    [](const auto& test) {
      return fmt::format("{}_{}", name_of(std::get<0>(test.param)), std::get<1>(test.param).name);
    });

/// Sets key `key` of kv head `kv_head` of a pack of one sequence.
void set_key(AttentionProblem& problem, int64_t key, int64_t kv_head, double value) {
  const int64_t at = (key * problem.kv_heads + kv_head) * problem.head_dim;
  std::fill_n(problem.k.begin() + at, problem.head_dim, value);
  std::fill_n(problem.v.begin() + at, problem.head_dim, value);
}

TEST(SingleRow, SeesNaNOfItsKeysAndOfNoOthers) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  Device device = make_device(Path::kDefault);
  for (const int64_t position : {0, 7, 700, 1290}) {
    SCOPED_TRACE(position);
    const AttentionCase c = {"nan", 4, 2, 128, {{1300, {{position, 1}}}}, kOneBlock};
    const AttentionProblem whole = problem_of(c);
    AttentionProblem behind = whole;
    for (int64_t key = position + 1; key < 1300; ++key) {
      for (const int64_t kv_head : {0, 1}) set_key(behind, key, kv_head, kNaN);
    }
    expect_same_bits(run_attention(device, c, behind, kNoMaxima), run_attention(device, c, whole, kNoMaxima));

    AttentionProblem seen = whole;
    set_key(seen, position / 2, 0, kNaN);
    const Values output = run_attention(device, c, seen, kNoMaxima).output;
    for (size_t i = 0; i < output.size(); ++i)
      ASSERT_EQ(std::isnan(output[i]), i < output.size() / 2) << i;  // heads 0 and 1
  }
}

}  // namespace
}  // namespace seer::test
