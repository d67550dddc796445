// Scores of pooled (or plain) gate queries against pooled keys (SEMANTICS 2 and 8), of the best of a block's pieces where
// keys come in pieces; forward with backward. Tiles that no row sees are neither computed nor read. The distance bias is
// added on the way out (distance_bias.cu has its gradient).
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/score_row.cuh"
#include "cuda/tile_product.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

using ByRows = Operand<float, Axis::kRows>;
using ByDepth = Operand<float, Axis::kDepth>;

/// Elements of a matrix of gradients, of which one piece's count: all of them where there is one.
template <bool kPieces, Axis kContiguous>
using Gradients = std::conditional_t<kPieces, ChosenOperand<float, kContiguous>, Operand<float, kContiguous>>;

template <bool kPieces, Axis kContiguous>
__device__ Gradients<kPieces, kContiguous> gradients_of(const float* data, const uint8_t* best_piece,
                                                        int64_t offset, int64_t stride, int64_t rows,
                                                        int64_t depth, int piece) {
  if constexpr (kPieces)
    return {{data + offset, stride, rows, depth}, best_piece + offset, piece};
  else
    return {data + offset, stride, rows, depth};
}

/// Of threads on a tile of the keys' gradient: there are few, each a sum over all rows and heads that see its keys.
constexpr int kKeyGroups = 4;

struct ScoreShape {
  const ScoreSegment* segments;
  int num_segments;
  int64_t query_stride, key_stride;  ///< Of queries and keys
  int64_t d;
  int group;       ///< Query heads for each key head
  int head_begin;  ///< First query head of the matrices
  int64_t head_count;
  Visibility visible;
  float scale;
  int pieces;                  ///< Of a block's keys
  uint8_t* best_piece;         ///< Null: not wanted (forward), or there is one (backward)
  const float* distance_bias;  ///< [H, kDistanceTerms], or null
};

/// The keys of one head: every `pieces`-th row from `piece` on.
__device__ const float* piece_of(const float* keys, const ScoreShape& s, int64_t key_row, int64_t key_head,
                                 int piece) {
  return keys + (key_row * s.pieces + piece) * s.key_stride + key_head * s.d;
}

/// The bias of the distances that a tile of scores holds.
class TileBias {
 public:
  /// Of a head's weights, for tile rows from `position` on and columns from j0 on. All threads; they meet at the product's
  /// barriers before one reads what another wrote.
  __device__ TileBias(const float* weights, int64_t position, int64_t j0)
      : first_block_(0), begins_(j0 == 0) {
    if (weights == nullptr) return;
    first_block_ = kDistanceScale * weights[kDistanceRamps];
    const auto thread = static_cast<int>(threadIdx.x);
    const int64_t distance = position - j0 + thread - (kTile - 1);
    memory()[thread] = distance < 0 ? 0.0F : distance_curve(weights, distance);
  }
  __device__ float operator()(int row, int column) const {
    return memory()[row - column + kTile - 1] + (begins_ && column == 0 ? first_block_ : 0.0F);
  }

 private:
  static_assert(kTileThreads >= 2 * kTile - 1);
  __device__ static float* memory() {
    __shared__ float of_distance[kTileThreads];
    return of_distance;
  }

  float first_block_;
  bool begins_;
};

/// Block (segment * head_count + head, row tile, column tile).
template <bool kPieces>
__global__ void __launch_bounds__(kTileThreads)
    scores_kernel(const float* queries, const float* keys, float* scores, ScoreShape s) {
  const ScoreSegment& segment = s.segments[blockIdx.x / s.head_count];
  const int64_t head = blockIdx.x % s.head_count;
  const int64_t h = s.head_begin + head;
  const int64_t i0 = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t j0 = static_cast<int64_t>(blockIdx.z) * kTile;
  if (i0 >= segment.queries.rows || j0 >= segment.blocks) return;
  const int64_t last = min(segment.queries.rows, i0 + kTile) - 1;
  if (j0 >= s.visible(segment.queries.position + last)) return;
  const TileBias bias(s.distance_bias == nullptr ? nullptr : s.distance_bias + h * kDistanceTerms,
                      segment.queries.position + i0, j0);
  float best[kTileElements];
  uint8_t from[kTileElements];
  const ByDepth rows{queries + segment.queries.row * s.query_stride + h * s.d, s.query_stride,
                     segment.queries.rows, s.d};
#pragma unroll 1
  for (int piece = 0; piece < (kPieces ? s.pieces : 1); ++piece) {
    TileProduct product;
    product.add(rows, i0,
                ByDepth{piece_of(keys, s, segment.key_row, h / s.group, piece), s.pieces * s.key_stride,
                        segment.blocks, s.d},
                j0);
    int n = 0;
    product.for_each([&](int, int, float value) {
      const bool better = !kPieces || piece == 0 || value > best[n] || value != value;  // a NaN stays
      if (better) best[n] = value;
      if (better) from[n] = static_cast<uint8_t>(piece);
      ++n;
    });
  }
  const int64_t begin = matrix_begin(segment, s.head_count, head);
  int n = 0;
  TileProduct<>::for_each_place([&](int r, int c) {
    const int64_t at = begin + (i0 + r) * segment.blocks + j0 + c;
    if (i0 + r < segment.queries.rows && j0 + c < segment.blocks) {
      const float score = s.scale * best[n];
      scores[at] = s.distance_bias == nullptr ? score : score + bias(r, c);
      if (kPieces && s.best_piece != nullptr) s.best_piece[at] = from[n];
    }
    ++n;
  });
}

/// Block (segment * head_count + head, row tile, column tile of d): dq = scale * dS K, over all pieces.
template <bool kPieces>
__global__ void __launch_bounds__(kTileThreads)
    query_gradient_kernel(const float* score_gradient, const float* keys, float* query_gradient,
                          int64_t gradient_stride, ScoreShape s) {
  const ScoreSegment& segment = s.segments[blockIdx.x / s.head_count];
  const int64_t head = blockIdx.x % s.head_count;
  const int64_t h = s.head_begin + head;
  const int64_t i0 = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t c0 = static_cast<int64_t>(blockIdx.z) * kTile;
  if (i0 >= segment.queries.rows) return;
  const int64_t last = min(segment.queries.rows, i0 + kTile) - 1;
  const int64_t depth = min(segment.blocks, s.visible(segment.queries.position + last));
  TileProduct product;
#pragma unroll 1
  for (int piece = 0; piece < (kPieces ? s.pieces : 1); ++piece) {
    product.add(
        gradients_of<kPieces, Axis::kDepth>(score_gradient, s.best_piece,
                                            matrix_begin(segment, s.head_count, head), segment.blocks,
                                            segment.queries.rows, depth, piece),
        i0,
        ByRows{piece_of(keys, s, segment.key_row, h / s.group, piece), s.pieces * s.key_stride, s.d, depth},
        c0);
  }
  product.for_each([&](int r, int c, float value) {
    if (i0 + r < segment.queries.rows && c0 + c < s.d) {
      query_gradient[(segment.queries.row + i0 + r) * gradient_stride + h * s.d + c0 + c] = s.scale * value;
    }
  });
}

/// Block (sequence's first segment * key heads + key head, key tile * pieces + piece, column tile of d): dk += scale *
/// dS^T Q, over the query heads and segments that see the keys, in order.
template <bool kPieces>
__global__ void __launch_bounds__(kKeyGroups* kTileThreads)
    key_gradient_kernel(const float* score_gradient, const float* queries, float* key_gradient,
                        int64_t gradient_stride, ScoreShape s) {
  const auto key_heads = static_cast<int>(s.head_count / s.group);
  const int first = static_cast<int>(blockIdx.x) / key_heads;
  const int key_head = static_cast<int>(blockIdx.x) % key_heads;
  const int64_t key_row = s.segments[first].key_row;
  const int64_t blocks = s.segments[first].blocks;
  const int piece = kPieces ? static_cast<int>(blockIdx.y) % s.pieces : 0;
  const int64_t j0 = static_cast<int64_t>(kPieces ? blockIdx.y / s.pieces : blockIdx.y) * kTile;
  const int64_t c0 = static_cast<int64_t>(blockIdx.z) * kTile;
  if (j0 >= blocks) return;
  if (first > 0 && s.segments[first - 1].sequence == s.segments[first].sequence)
    return;  // done with the first
  TileProduct<kKeyGroups> product;
  for (int n = first; n < s.num_segments && s.segments[n].sequence == s.segments[first].sequence; ++n) {
    const ScoreSegment& segment = s.segments[n];
    // Rows before the first that sees the tile hold zeros there.
    const int64_t position = s.visible.decode ? (j0 + 1) * s.visible.block_size : j0;
    const int64_t skipped = max(int64_t{0}, position - segment.queries.position);
    if (skipped >= segment.queries.rows) continue;
    const int64_t depth = segment.queries.rows - skipped;
    for (int64_t head = key_head * s.group; head < (key_head + 1) * s.group; ++head) {
      product.add(
          gradients_of<kPieces, Axis::kRows>(
              score_gradient, s.best_piece,
              matrix_begin(segment, s.head_count, head) + skipped * segment.blocks, segment.blocks,
              segment.blocks, depth, piece),
          j0,
          ByRows{queries + (segment.queries.row + skipped) * s.query_stride + (s.head_begin + head) * s.d,
                 s.query_stride, s.d, depth},
          c0);
    }
  }
  const int64_t h = s.head_begin / s.group + key_head;
  product.for_each([&](int r, int c, float value) {
    if (j0 + r < blocks && c0 + c < s.d) {
      key_gradient[((key_row + j0 + r) * s.pieces + piece) * gradient_stride + h * s.d + c0 + c] +=
          s.scale * value;
    }
  });
}

ScoreShape shape_of(const ScoreArgs& a) {
  return {.segments = device_table(a.layout->segments),
          .num_segments = static_cast<int>(a.layout->segments.host.size()),
          .query_stride = a.queries.row_stride(),
          .key_stride = a.keys.row_stride(),
          .d = a.queries.dim(2),
          .group = static_cast<int>(a.queries.dim(1) / a.keys.dim(1)),
          .head_begin = static_cast<int>(a.head_begin),
          .head_count = a.head_count,
          .visible = Visibility(*a.layout),
          .scale = static_cast<float>(a.scale),
          .pieces = static_cast<int>(a.pieces),
          .best_piece = a.best_piece.empty() ? nullptr : a.best_piece.data<uint8_t>(),
          .distance_bias = a.distance_bias.empty() ? nullptr : elements<float>(a.distance_bias)};
}

}  // namespace

void gate_scores(cudaStream_t stream, const ScoreArgs& a, Tensor scores) {
  const int64_t rows = most_rows(a.layout->segments);
  if (rows == 0 || a.head_count == 0) return;
  const dim3 grid(a.layout->segments.host.size() * a.head_count, ceil_div(rows, kTile),
                  ceil_div(a.layout->max_blocks, kTile));
  const auto kernel = a.pieces > 1 ? scores_kernel<true> : scores_kernel<false>;
  kernel<<<grid, kTileThreads, 0, stream>>>(elements<float>(a.queries), elements<float>(a.keys),
                                            elements<float>(scores), shape_of(a));
  check_launch("gate_scores");
}

void gate_scores_backward(cudaStream_t stream, const ScoreArgs& a, ConstTensor score_gradient,
                          const ScoreGradients& gradients) {
  const int64_t rows = most_rows(a.layout->segments);
  if (rows == 0 || a.head_count == 0) return;
  const ScoreShape s = shape_of(a);
  const int64_t segments = s.num_segments;
  if (!gradients.query.empty()) {
    const dim3 query_grid(segments * a.head_count, ceil_div(rows, kTile), ceil_div(s.d, kTile));
    const auto kernel = a.pieces > 1 ? query_gradient_kernel<true> : query_gradient_kernel<false>;
    kernel<<<query_grid, kTileThreads, 0, stream>>>(elements<float>(score_gradient), elements<float>(a.keys),
                                                    elements<float>(gradients.query),
                                                    gradients.query.row_stride(), s);
    check_launch("gate_scores_backward (queries)");
  }
  const dim3 key_grid(segments * (a.head_count / s.group), ceil_div(a.layout->max_blocks, kTile) * a.pieces,
                      ceil_div(s.d, kTile));
  const auto kernel = a.pieces > 1 ? key_gradient_kernel<true> : key_gradient_kernel<false>;
  kernel<<<key_grid, kKeyGroups * kTileThreads, 0, stream>>>(
      elements<float>(score_gradient), elements<float>(a.queries), elements<float>(gradients.key),
      gradients.key.row_stride(), s);
  check_launch("gate_scores_backward (keys)");
  if (!gradients.distance.empty()) distance_bias_backward(stream, a, score_gradient, gradients);
}

}  // namespace seer::cuda
