// Arguments of the operations of sparse attention: scoring blocks, choosing them, attending to what was chosen
// (SEMANTICS 7). Letters as in backend.h.
#pragma once

#include <cstdint>

#include "src/core/tensor.h"
#include "src/ops/layout.h"

namespace seer {

/// The key blocks that every row of score matrices keeps.
struct BlockLists {
  Tensor counts;  ///< [heads, layout.num_query_rows] I32
  Tensor
      blocks;  ///< [heads, layout.elements] I32, laid out as score matrices: the first `count` elements of a row are
               ///< block numbers, ascending; what the others hold is undefined
};

enum class SelectBy {
  kThreshold,    ///< Blocks with p > value.
  kNzRatio,      ///< blocks_a_row() = max(1, trunc((1 - sqrt(1 - value)) * N)).
  kTokenBudget,  ///< blocks_a_row() = max(1, floor(value / block_size)).
  kTopP,         ///< The fewest blocks whose p sums to at least value; all of them where it is 1 or more.
};

/// k of the rules that keep the same number of blocks in every row (SEMANTICS 7) of a sequence of `blocks` blocks.
int64_t blocks_a_row(SelectBy by, double value, int64_t blocks, int64_t block_size);

/// Which blocks a row keeps. Blocks that are kept whatever their score (the first ones, the nearest, the diagonal) have
/// the highest scores: they count in k and in top_p's sum. Ties keep the lower index.
struct SelectionRule {
  SelectBy by = SelectBy::kNzRatio;
  double value = 0.1;  ///< Any threshold; 0 to 1 for nz_ratio; 0 or more for the others.
  bool always_diagonal = true;
  int64_t sink_blocks = 0;   ///< Blocks 0 .. sink_blocks - 1 are kept.
  int64_t local_blocks = 0;  ///< So many nearest blocks are kept, the diagonal one being the first of them.
  int64_t dense_last_rows = 0;  ///< The last block rows of a sequence keep everything; last_block_dense is 2.
  int64_t min_blocks = 0;       ///< A row keeps at least so many of the blocks it sees, by score.

  bool operator==(const SelectionRule&) const = default;
};

struct SelectArgs {
  ConstTensor scores;  ///< Matrices of `layout`, fp32: any scores, or probabilities
  /// Scores are p >= 0 already: used as they are, rows need not sum to 1 but top_p's value is a share of their sum.
  /// Otherwise p is the softmax of the row's visible scores.
  bool probabilities = false;
  const ScoreLayout* layout = nullptr;  ///< Prefill
  int64_t head_count = 0;
  SelectionRule rule;
  ConstTensor
      values;        ///< [head_count] fp32, each head's own rule.value, in the range allowed for it; or empty
  BlockLists lists;  ///< Written
  Tensor kept;       ///< [head_count] fp64 += blocks kept by all rows of each head; or empty
  Tensor workspace;  ///< U8, at least select_workspace() bytes
};

/// Share of T's row mass on the kept blocks (SEMANTICS 9): mean over the rows that count in the loss, then sequences.
struct KeptRecallArgs {
  BlockLists lists;
  ConstTensor target;  ///< T, matrices of `layout`, fp32
  const ScoreLayout* layout = nullptr;
  int64_t heads = 0;  ///< All heads of the layer, the mean is over them.
  int64_t head_count = 0;
  double factor = 1.0;
  Tensor recall;     ///< [head_count] fp64 += factor * what each head adds to the layer's mean recall
  Tensor workspace;  ///< U8, at least kept_recall_workspace() bytes
};

/// Exact causal softmax over the keys of the kept blocks alone. A row without any outputs 0.
struct SparseAttentionArgs {
  ConstTensor q;  ///< [query rows, H, D] act, after RoPE
  ConstTensor k;  ///< [key rows, G, D] act, after RoPE
  ConstTensor v;  ///< [key rows, G, D] act
  const BatchLayout* layout = nullptr;
  const ScoreLayout* blocks =
      nullptr;       ///< The batch's prefill layout of the lists' block size, which divides 128
  BlockLists lists;  ///< Of heads [head_begin, head_begin + head_count)
  int64_t head_begin = 0;
  int64_t head_count = 0;
  float scale = 0.0F;  ///< 1/sqrt(D)
  Tensor output;       ///< [query rows, H, D] act: the heads of the range are written
  Tensor workspace;    ///< U8, at least sparse_attention_workspace() bytes
};

/// Scores without any q and k.
enum class PositionScores {
  kWindow,  ///< The first block, then the nearest: what a sink and a window keep.
  kRandom,  ///< A hash of (seed, head, row position, block), uniform in [0, 1).
};

/// Attention sampled along antidiagonals (XAttention, arXiv 2503.16428). Tokens are taken in groups of `stride`;
/// x[a, c] = scale / stride * sum over t < stride of q[a * stride + stride - 1 - t] . k[c * stride + t]; groups are causal
/// (c <= a); p = softmax over c. scores[i, j] = sum of p over the groups of (query block i) x (key block j). Tokens past a
/// sequence's end are zero vectors; rows of groups that begin past it do not count.
struct AntidiagonalArgs {
  ConstTensor q;  ///< [query rows, H, D] act, after RoPE
  ConstTensor k;  ///< [key rows, G, D] act, after RoPE
  const BatchLayout* layout = nullptr;
  const ScoreLayout* blocks = nullptr;
  int64_t stride = 8;  ///< Divides the block size.
  int64_t head_begin = 0;
  int64_t head_count = 0;
  float scale = 0.0F;  ///< 1/sqrt(D)
  Tensor scores;       ///< Matrices of `blocks`, fp32: p >= 0; undefined above the diagonal
  Tensor workspace;    ///< U8, at least antidiagonal_workspace() bytes
};

}  // namespace seer
