// Causal attention and its block maxima in fp64, one row at a time, with loops that compilers vectorise.
#pragma once

#include <vector>

#include "tests/ops/device.h"
#include "tests/ops/packs.h"

namespace seer::test {

/// Keys and values of one sequence and kv head.
class ReferenceHead {
 public:
  struct Row {
    Values output;  ///< [D]
    double logsumexp = 0;
    Values block_log_max;  ///< Of each block of keys that the row sees
  };

  /// k and v point at the first key of the head; keys lie `stride` elements apart.
  ReferenceHead(const double* k, const double* v, int64_t stride, int64_t keys, int64_t head_dim);
  ReferenceHead(const float* k, const float* v, int64_t stride, int64_t keys, int64_t head_dim);

  /// The row of the query q [D] at `position`, which sees the keys 0 .. position.
  template <typename T>
  Row attend(const T* q, int64_t position, double scale, int64_t block) const;

 private:
  static constexpr int64_t kTile = 256;

  int64_t head_dim_;
  std::vector<float> k_;  ///< [tile][D][kTile]
  std::vector<float> v_;  ///< [key][D]
};

/// A pack with its inputs, contiguous: q [query rows, heads, D], k and v [key rows, kv_heads, D].
struct AttentionProblem {
  Pack pack;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  double scale = 0;
  Values q, k, v;
};

/// What heads [head_begin, head_begin + head_count) give, as AttentionArgs lays it out, o without other heads.
struct AttentionResult {
  Values output;         ///< [query rows, head_count, D]
  Values logsumexp;      ///< [head_count, query rows]
  Values block_log_max;  ///< [head_count, rows, blocks] of each segment
  Values target;
};
AttentionResult reference_attention(const AttentionProblem& problem, int64_t head_begin, int64_t head_count,
                                    int64_t block);

}  // namespace seer::test
