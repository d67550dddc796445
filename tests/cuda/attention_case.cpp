#include "tests/cuda/attention_case.h"

#include <cmath>
#include <cstring>
#include <ostream>

namespace seer::test {
namespace {

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

}  // namespace

void PrintTo(const AttentionCase& c, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << c.name;
}

int64_t heads_computed(const AttentionCase& c) {
  return c.head_count > 0 ? c.head_count : c.heads;
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

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

}  // namespace seer::test
