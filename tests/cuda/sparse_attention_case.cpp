#include "tests/cuda/sparse_attention_case.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <span>

#include <gtest/gtest.h>

#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

/// One query against the keys of its list.
Values attend(const AttentionProblem& p, const double* q, const double* k, const double* v,
              const std::vector<int64_t>& list, int64_t position, int64_t block) {
  const int64_t stride = p.kv_heads * p.head_dim;
  Values scores;
  std::vector<int64_t> keys;
  for (const int64_t j : list) {
    for (int64_t key = j * block; key < std::min((j + 1) * block, position + 1); ++key) {
      double score = 0;
      for (int64_t e = 0; e < p.head_dim; ++e) score += q[e] * k[key * stride + e];
      scores.push_back(score * p.scale);
      keys.push_back(key);
    }
  }
  Values output(p.head_dim);
  if (keys.empty()) return output;
  const double maximum = *std::ranges::max_element(scores);
  double sum = 0;
  for (size_t n = 0; n < keys.size(); ++n) {
    const double weight = std::exp(scores[n] - maximum);
    sum += weight;
    for (int64_t e = 0; e < p.head_dim; ++e) output[e] += weight * v[keys[n] * stride + e];
  }
  for (double& x : output) x /= sum;
  return output;
}

}  // namespace

std::string name_of(Lists lists) {
  constexpr const char* kNames[] = {"random",   "shared",   "all",        "none",
                                    "diagonal", "disjoint", "some_heads", "gaps"};
  return kNames[static_cast<int>(lists)];
}

void PrintTo(const SparseCase& c, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  PrintTo(c.attention, out);
}

KeptBlocks kept_blocks(const SparseCase& c, int64_t head_begin, int64_t head_count) {
  const std::vector<Matrix> matrices = matrices_of(c.attention.pack, ScoreKind::kPrefill, c.attention.block);
  const int64_t heads = c.attention.heads;
  const int64_t group = heads / c.attention.kv_heads;
  const KeptBlocks drawn = KeptBlocks::random(11, matrices, heads, 0.33);
  KeptBlocks kept(matrices, head_count);
  for (const Matrix& m : matrices) {
    for (int64_t h = 0; h < head_count; ++h) {
      const int64_t head = head_begin + h;
      for (int64_t i = 0; i < m.rows; ++i) {
        std::vector<int64_t>& list = kept.row(m, h, i);
        const int64_t seen = m.position + i + 1;
        if (c.lists == Lists::kRandom || (c.lists == Lists::kSomeHeads && head % 3 != 0))
          list = drawn.row(m, head, i);
        if (c.lists == Lists::kShared) list = drawn.row(m, head / group, i);
        if (c.lists == Lists::kDiagonal) list = {seen - 1};
        if (c.lists == Lists::kGaps) {
          constexpr int64_t kGaps[] = {4, 5, 1, 9, 10, 1};
          size_t gap = 0;
          for (int64_t j = 0; j < seen; j += head % 2 == 0 ? 1 : kGaps[gap++ % std::size(kGaps)])
            list.push_back(j);
        }
        if (c.lists == Lists::kAll || c.lists == Lists::kDisjoint) {
          const bool halves = c.lists == Lists::kDisjoint;
          const int64_t begin = halves && head % 2 == 1 ? seen / 2 : 0;
          const int64_t end = halves && head % 2 == 0 ? seen / 2 : seen;
          for (int64_t j = begin; j < end; ++j) list.push_back(j);
        }
      }
    }
  }
  return kept;
}

Values reference_sparse_attention(const SparseCase& c, const AttentionProblem& p) {
  const int64_t count = heads_computed(c.attention);
  const KeptBlocks kept = kept_blocks(c, c.attention.head_begin, count);
  Values out;
  out.reserve(query_tokens(p.pack) * count * p.head_dim);
  size_t matrix = 0;
  for (const PackedSequence& sequence : p.pack) {
    for (const Chunk& chunk : sequence.chunks) {
      const Matrix& m = kept.matrices()[matrix++];
      for (int64_t i = 0; i < chunk.rows; ++i) {
        for (int64_t h = 0; h < count; ++h) {
          const int64_t head = c.attention.head_begin + h;
          const int64_t first_key = (m.key_token * p.kv_heads + head * p.kv_heads / p.heads) * p.head_dim;
          const Values row =
              attend(p, p.q.data() + ((m.token_row + i) * p.heads + head) * p.head_dim,
                     p.k.data() + first_key, p.v.data() + first_key, kept.row(m, h, i / c.attention.block),
                     chunk.position + i, c.attention.block);
          out.insert(out.end(), row.begin(), row.end());
        }
      }
    }
  }
  return out;
}

Values written_heads(const Values& all, int64_t stride, int64_t head_dim, int64_t head_begin,
                     int64_t head_count) {
  Values out;
  int64_t outside = 0;
  for (int64_t at = 0; at < static_cast<int64_t>(all.size()); ++at) {
    const int64_t head = at % stride / head_dim - 1;
    if (head >= head_begin && head < head_begin + head_count) {
      out.push_back(all[at]);
    } else if (!std::isnan(all[at])) {
      ++outside;
    }
  }
  EXPECT_EQ(outside, 0) << "elements of other heads were written";
  return out;
}

void expect_output(const Values& actual, const Values& expected, int64_t head_dim) {
  ASSERT_EQ(actual.size(), expected.size());
  const auto is_zero = [](std::span<const double> x) {
    return std::ranges::all_of(x, [](double e) { return e == 0; });
  };
  if (is_zero(expected)) {
    EXPECT_TRUE(is_zero(actual));
    return;
  }
  EXPECT_LE(relative_error(actual, expected), 2.5e-3);
  for (size_t at = 0; at < actual.size(); at += head_dim) {
    const auto row = std::span(actual).subspan(at, head_dim);
    const auto expected_row = std::span(expected).subspan(at, head_dim);
    if (is_zero(expected_row)) {
      ASSERT_TRUE(is_zero(row)) << "row " << at / head_dim << " keeps nothing";
    } else {
      ASSERT_LE(relative_error(row, expected_row), 1e-2) << "row " << at / head_dim;
    }
  }
}

}  // namespace seer::test
