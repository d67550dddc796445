// The fused attention kernels in bf16, the portable one and the one that this GPU takes by itself, against fp64:
// output, logsumexp, block maxima and the T they give.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <ostream>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "tests/cuda/attention_reference.h"
#include "tests/ops/device.h"
#include "tests/ops/packs.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

enum class Path { kPortable, kDefault };
constexpr Path kPaths[] = {Path::kPortable, Path::kDefault};

std::string name_of(Path path) {
  return path == Path::kPortable ? "portable" : "default";
}

Device make_device(Path path) {
  return Device(make_cuda_backend({.portable_attention = path == Path::kPortable}));
}

/// What q and k hold; v is always random.
enum class Content {
  kRandom,
  kScoresOf60,  ///< Some 60 either way, at random
  kPlusMinus,   ///< +60 and -60 in turn, each for 40 keys: rows see -60 alone, then +60 appears
  kFlat,        ///< q = 0
  kOneKey,      ///< All of a row's mass on key 37, once it sees it
  kGrowing,     ///< Later keys score higher, up to 60: the running maximum rises in every tile
  kShrinking,
};

struct AttentionCase {
  std::string name;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  Pack pack;
  int64_t block = 64;
  Content content = Content::kRandom;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< 0: all
};

void PrintTo(const AttentionCase& c, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << c.name;
}

int64_t heads_computed(const AttentionCase& c) {
  return c.head_count > 0 ? c.head_count : c.heads;
}

/// Rounded to bf16.
Values rounded(const Values& values) {
  const std::vector<float> wide(values.begin(), values.end());
  std::vector<std::byte> narrow(wide.size() * 2);
  convert_from_f32(wide.data(), static_cast<int64_t>(wide.size()), DType::kBF16, narrow.data());
  std::vector<float> back(wide.size());
  convert_to_f32(narrow.data(), DType::kBF16, static_cast<int64_t>(wide.size()), back.data());
  return {back.begin(), back.end()};
}

/// A key at `position` of its sequence whose score with a query of ones is meant to be this.
double score_of_key(Content content, int64_t position, int64_t length) {
  const double share = static_cast<double>(position) / static_cast<double>(length);
  switch (content) {
    case Content::kPlusMinus:
      return position / 40 % 2 == 0 ? -60.0 : 60.0;
    case Content::kOneKey:
      return position == 37 ? 60.0 : 0.0;
    case Content::kGrowing:
      return 60.0 * share;
    case Content::kShrinking:
      return 60.0 * (1.0 - share);
    default:
      return 0.0;
  }
}

AttentionProblem problem_of(const AttentionCase& c) {
  const int64_t queries = query_tokens(c.pack) * c.heads * c.head_dim;
  const int64_t keys = key_tokens(c.pack) * c.kv_heads * c.head_dim;
  const double root = std::sqrt(static_cast<double>(c.head_dim));
  AttentionProblem p{.pack = c.pack,
                     .heads = c.heads,
                     .kv_heads = c.kv_heads,
                     .head_dim = c.head_dim,
                     .scale = static_cast<float>(1.0 / root),
                     .k = random_values(2, keys, 1.0, DType::kBF16),
                     .v = random_values(3, keys, 1.0, DType::kBF16)};
  if (c.content == Content::kRandom || c.content == Content::kScoresOf60) {
    p.q = random_values(1, queries, c.content == Content::kRandom ? 2.0 : 15.0, DType::kBF16);
    return p;
  }
  p.q.assign(queries, c.content == Content::kFlat ? 0.0 : 1.0);
  int64_t at = 0;
  for (const PackedSequence& sequence : c.pack) {
    for (int64_t j = 0; j < sequence.length; ++j) {
      const double score = score_of_key(c.content, j, sequence.length);
      for (int64_t e = 0; e < c.kv_heads * c.head_dim; ++e, ++at) p.k[at] = p.k[at] / 8 + score / root;
    }
  }
  p.k = rounded(p.k);
  return p;
}

/// What a call is asked for.
struct Wanted {
  bool output = true;
  bool logsumexp = true;
  bool maxima = true;
  std::vector<int64_t> coarser;  ///< T for these block sizes instead of the maxima's own
};

struct FusedResult : AttentionResult {
  std::vector<Values> targets;  ///< Wanted::coarser
  bool only_heads_of_the_range = true;
};

/// [rows, heads, D] with a head of NaN before and behind every row.
Tensor between_nan(Device& device, int64_t heads, int64_t head_dim, const Values& values) {
  const int64_t width = heads * head_dim;
  const auto rows = static_cast<int64_t>(values.size()) / width;
  Values all(rows * (width + 2 * head_dim), kNaN);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(values.begin() + r * width, width, all.begin() + r * (width + 2 * head_dim) + head_dim);
  }
  const Tensor buffer = device.upload(Shape{rows, heads + 2, head_dim}, all, DType::kBF16);
  return {static_cast<char*>(buffer.raw()) + head_dim * size_of(DType::kBF16), DType::kBF16,
          Shape{rows, heads, head_dim}, buffer.row_stride()};
}

FusedResult run(Device& device, const AttentionCase& c, const AttentionProblem& p,
                const Wanted& wanted = {}) {
  const int64_t count = heads_computed(c);
  const int64_t queries = query_tokens(c.pack);
  BatchLayout batch = layout_of(c.pack);
  device.prepare(batch);
  AttentionArgs args{.q = between_nan(device, c.heads, c.head_dim, p.q),
                     .k = between_nan(device, c.kv_heads, c.head_dim, p.k),
                     .layout = &batch,
                     .head_begin = c.head_begin,
                     .head_count = count,
                     .scale = static_cast<float>(p.scale)};
  if (wanted.output) {
    args.v = between_nan(device, c.kv_heads, c.head_dim, p.v);
    args.output = between_nan(device, c.heads, c.head_dim, Values(p.q.size(), kNaN));
  }
  if (wanted.logsumexp) args.logsumexp = device.output(Shape{count, queries});
  ScoreLayout blocks;
  if (wanted.maxima) {
    blocks = ScoreLayout::prefill(batch, c.block);
    device.prepare(blocks);
    args.blocks = &blocks;
    args.block_log_max = device.output(Shape{count, blocks.elements});
  }
  args.workspace = device.workspace(device.backend().attention_workspace(args));
  device.backend().attention(device.queue(), args);

  FusedResult out;
  const auto target_of = [&](int64_t block) {
    ScoreLayout layout = ScoreLayout::prefill(batch, block);
    device.prepare(layout);
    const Tensor target = device.output(Shape{count, layout.elements});
    device.backend().normalise_target(device.queue(), args.block_log_max, blocks, layout, count, target);
    return device.download(target);
  };
  if (wanted.maxima) {
    out.block_log_max = device.download(args.block_log_max);
    out.target = target_of(c.block);
    for (const int64_t block : wanted.coarser) out.targets.push_back(target_of(block));
  }
  if (wanted.logsumexp) out.logsumexp = device.download(args.logsumexp);
  if (wanted.output) {
    const int64_t stride = args.output.row_stride();
    const Tensor whole(static_cast<char*>(args.output.raw()) - c.head_dim * size_of(DType::kBF16),
                       DType::kBF16, Shape{queries, stride});
    const Values all = device.download(whole);
    for (int64_t at = 0; at < static_cast<int64_t>(all.size()); ++at) {
      const int64_t head = at % stride / c.head_dim - 1;
      if (head >= c.head_begin && head < c.head_begin + count) {
        out.output.push_back(all[at]);
      } else if (!std::isnan(all[at])) {
        out.only_heads_of_the_range = false;
      }
    }
  }
  return out;
}

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

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

// ---- against the reference

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
  const FusedResult actual = run(device, c, problem);
  expect_result(c, actual, reference(c, problem));
  expect_same_bits(actual, run(device, c, problem));
}

INSTANTIATE_TEST_SUITE_P(All, FusedAttention,
                         testing::Combine(testing::ValuesIn(kPaths), testing::ValuesIn(all_cases())),
                         [](const auto& test) {
                           return fmt::format("{}_{}", name_of(std::get<0>(test.param)),
                                              std::get<1>(test.param).name);
                         });

// ---- whatever the input

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
  const FusedResult all = run(device_, c, problem);
  for (const bool output : {false, true}) {
    for (const bool logsumexp : {false, true}) {
      for (const bool maxima : {false, true}) {
        SCOPED_TRACE(fmt::format("output {} logsumexp {} maxima {}", output, logsumexp, maxima));
        if (!output && !logsumexp && !maxima) continue;
        const FusedResult some = run(device_, c, problem, {output, logsumexp, maxima, {}});
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
  const FusedResult fine = run(device_, make_case(pack, 16), problem, {.coarser = sizes});
  for (size_t i = 0; i < sizes.size(); ++i) {
    SCOPED_TRACE(sizes[i]);
    const FusedResult direct = run(device_, make_case(pack, sizes[i]), problem);
    EXPECT_TRUE(same_bits(fine.targets[i], direct.target));
    EXPECT_TRUE(same_bits(fine.output, direct.output));
    EXPECT_TRUE(same_bits(fine.logsumexp, direct.logsumexp));
  }
}

TEST_P(FusedProperties, HeadsDoNotDependOnTheRangeTheyAreComputedIn) {
  AttentionCase c = make_case(whole({300, 65}), 32);
  const AttentionProblem problem = problem_of(c);
  const FusedResult all = run(device_, c, problem);
  const std::vector<Matrix> matrices = matrices_of(c.pack, ScoreKind::kPrefill, c.block);
  c.head_count = 1;
  for (int64_t head = 0; head < c.heads; ++head) {
    SCOPED_TRACE(head);
    c.head_begin = head;
    const FusedResult one = run(device_, c, problem);
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
  const FusedResult expected = run(device_, alone, problem);
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
  const FusedResult actual = run(device_, packed, pack);
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
      const FusedResult out = run(device_, c, problem);
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
      run(device, c, problem_of(c));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("head_dim 80"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace seer::test
