#include "tests/cuda/attention_reference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace seer::test {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

template <typename T>
std::vector<float> transposed_tiles(const T* k, int64_t stride, int64_t keys, int64_t head_dim,
                                    int64_t tile) {
  std::vector<float> out(ceil_div(keys, tile) * head_dim * tile);
  for (int64_t j = 0; j < keys; ++j) {
    float* to = out.data() + j / tile * head_dim * tile + j % tile;
    for (int64_t e = 0; e < head_dim; ++e) to[e * tile] = static_cast<float>(k[j * stride + e]);
  }
  return out;
}

template <typename T>
std::vector<float> dense_rows(const T* v, int64_t stride, int64_t keys, int64_t head_dim) {
  std::vector<float> out(keys * head_dim);
  for (int64_t j = 0; j < keys; ++j) std::copy_n(v + j * stride, head_dim, out.begin() + j * head_dim);
  return out;
}

}  // namespace

ReferenceHead::ReferenceHead(const double* k, const double* v, int64_t stride, int64_t keys, int64_t head_dim)
    : head_dim_(head_dim),
      k_(transposed_tiles(k, stride, keys, head_dim, kTile)),
      v_(dense_rows(v, stride, keys, head_dim)) {}

ReferenceHead::ReferenceHead(const float* k, const float* v, int64_t stride, int64_t keys, int64_t head_dim)
    : head_dim_(head_dim),
      k_(transposed_tiles(k, stride, keys, head_dim, kTile)),
      v_(dense_rows(v, stride, keys, head_dim)) {}

template <typename T>
ReferenceHead::Row ReferenceHead::attend(const T* q, int64_t position, double scale, int64_t block) const {
  const int64_t keys = position + 1;
  Values scores(ceil_div(keys, kTile) * kTile);
  for (int64_t first = 0; first < keys; first += kTile) {
    std::array<double, kTile> sums{};
    for (int64_t e = 0; e < head_dim_; ++e) {
      const double factor = scale * q[e];
      const float* k = k_.data() + first * head_dim_ + e * kTile;
      for (int64_t j = 0; j < kTile; ++j) sums[j] += factor * k[j];
    }
    std::ranges::copy(sums, scores.begin() + first);
  }
  scores.resize(keys);

  Row row;
  const double maximum = *std::ranges::max_element(scores);
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - maximum);
  row.logsumexp = maximum + std::log(sum);
  row.output.resize(head_dim_);
  row.block_log_max.assign(ceil_div(keys, block), kMinusInfinity);
  for (int64_t j = 0; j < keys; ++j) {
    const double log_p = scores[j] - row.logsumexp;
    const double p = std::exp(log_p);
    const float* v = v_.data() + j * head_dim_;
    for (int64_t e = 0; e < head_dim_; ++e) row.output[e] += p * v[e];
    double& largest = row.block_log_max[j / block];
    largest = std::max(largest, log_p);
  }
  return row;
}

template ReferenceHead::Row ReferenceHead::attend(const double*, int64_t, double, int64_t) const;
template ReferenceHead::Row ReferenceHead::attend(const float*, int64_t, double, int64_t) const;

AttentionResult reference_attention(const AttentionProblem& problem, int64_t head_begin, int64_t head_count,
                                    int64_t block) {
  const int64_t head_dim = problem.head_dim;
  const int64_t queries = query_tokens(problem.pack);
  const std::vector<Matrix> matrices = matrices_of(problem.pack, ScoreKind::kPrefill, block);
  AttentionResult out;
  out.output.resize(queries * head_count * head_dim);
  out.logsumexp.resize(head_count * queries);
  out.block_log_max.assign(head_count * elements_of(matrices), kMinusInfinity);
  for (int64_t h = 0; h < head_count; ++h) {
    const int64_t head = head_begin + h;
    const int64_t kv_head = head * problem.kv_heads / problem.heads;
    size_t segment = 0;
    for (const PackedSequence& sequence : problem.pack) {
      const int64_t first_key = (matrices[segment].key_token * problem.kv_heads + kv_head) * head_dim;
      const ReferenceHead keys(problem.k.data() + first_key, problem.v.data() + first_key,
                               problem.kv_heads * head_dim, sequence.length, head_dim);
      for (const Chunk& chunk : sequence.chunks) {
        const Matrix& m = matrices[segment++];
        for (int64_t i = 0; i < chunk.rows; ++i) {
          const int64_t token = m.token_row + i;
          const ReferenceHead::Row row =
              keys.attend(problem.q.data() + (token * problem.heads + head) * head_dim, chunk.position + i,
                          problem.scale, block);
          std::ranges::copy(row.output, out.output.begin() + (token * head_count + h) * head_dim);
          out.logsumexp[h * queries + token] = row.logsumexp;
          double* maxima = out.block_log_max.data() + m.offset(head_count, h, i / block);
          for (size_t j = 0; j < row.block_log_max.size(); ++j)
            maxima[j] = std::max(maxima[j], row.block_log_max[j]);
        }
      }
    }
  }
  for (const double log_max : out.block_log_max) out.target.push_back(std::exp(log_max));
  for (const Matrix& m : matrices) {
    for (int64_t row = 0; row < head_count * m.rows; ++row) {
      double* target = out.target.data() + m.before * head_count + row * m.blocks;
      double sum = 0;
      for (int64_t j = 0; j < m.blocks; ++j) sum += target[j];
      for (int64_t j = 0; j < m.blocks; ++j) target[j] /= sum;
    }
  }
  return out;
}

}  // namespace seer::test
