// Scores of pooled (or plain) gate queries against pooled keys (SEMANTICS 2 and 8), forward with backward. Tiles
// that no row sees are neither computed nor read.
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
};

/// Block (segment * head_count + head, row tile, column tile).
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
  TileProduct product;
  product.add(
      ByDepth{queries + segment.queries.row * s.query_stride + h * s.d, s.query_stride, segment.queries.rows,
              s.d},
      i0,
      ByDepth{keys + segment.key_row * s.key_stride + h / s.group * s.d, s.key_stride, segment.blocks, s.d},
      j0);
  float* matrix = scores + matrix_begin(segment, s.head_count, head);
  product.for_each([&](int r, int c, float value) {
    if (i0 + r < segment.queries.rows && j0 + c < segment.blocks) {
      matrix[(i0 + r) * segment.blocks + j0 + c] = s.scale * value;
    }
  });
}

/// Block (segment * head_count + head, row tile, column tile of d): dq = scale * dS K.
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
  product.add(ByDepth{score_gradient + matrix_begin(segment, s.head_count, head), segment.blocks,
                      segment.queries.rows, depth},
              i0, ByRows{keys + segment.key_row * s.key_stride + h / s.group * s.d, s.key_stride, s.d, depth},
              c0);
  product.for_each([&](int r, int c, float value) {
    if (i0 + r < segment.queries.rows && c0 + c < s.d) {
      query_gradient[(segment.queries.row + i0 + r) * gradient_stride + h * s.d + c0 + c] = s.scale * value;
    }
  });
}

/// Block (sequence's first segment * key heads + key head, key tile, column tile of d): dk += scale * dS^T Q, over
/// the query heads and segments that see the keys, in order.
__global__ void __launch_bounds__(kKeyGroups* kTileThreads)
    key_gradient_kernel(const float* score_gradient, const float* queries, float* key_gradient,
                        int64_t gradient_stride, ScoreShape s) {
  const auto key_heads = static_cast<int>(s.head_count / s.group);
  const int first = static_cast<int>(blockIdx.x) / key_heads;
  const int key_head = static_cast<int>(blockIdx.x) % key_heads;
  const int64_t key_row = s.segments[first].key_row;
  const int64_t blocks = s.segments[first].blocks;
  const int64_t j0 = static_cast<int64_t>(blockIdx.y) * kTile;
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
          ByRows{score_gradient + matrix_begin(segment, s.head_count, head) + skipped * segment.blocks,
                 segment.blocks, segment.blocks, depth},
          j0,
          ByRows{queries + (segment.queries.row + skipped) * s.query_stride + (s.head_begin + head) * s.d,
                 s.query_stride, s.d, depth},
          c0);
    }
  }
  const int64_t h = s.head_begin / s.group + key_head;
  product.for_each([&](int r, int c, float value) {
    if (j0 + r < blocks && c0 + c < s.d) {
      key_gradient[(key_row + j0 + r) * gradient_stride + h * s.d + c0 + c] += s.scale * value;
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
          .scale = static_cast<float>(a.scale)};
}

}  // namespace

void gate_scores(cudaStream_t stream, const ScoreArgs& a, Tensor scores) {
  const int64_t rows = most_rows(a.layout->segments);
  if (rows == 0 || a.head_count == 0) return;
  const dim3 grid(a.layout->segments.host.size() * a.head_count, ceil_div(rows, kTile),
                  ceil_div(a.layout->max_blocks, kTile));
  scores_kernel<<<grid, kTileThreads, 0, stream>>>(elements<float>(a.queries), elements<float>(a.keys),
                                                   elements<float>(scores), shape_of(a));
  check_launch("gate_scores");
}

void gate_scores_backward(cudaStream_t stream, const ScoreArgs& a, ConstTensor score_gradient,
                          Tensor query_gradient, Tensor key_gradient) {
  const int64_t rows = most_rows(a.layout->segments);
  if (rows == 0 || a.head_count == 0) return;
  const ScoreShape s = shape_of(a);
  const int64_t segments = s.num_segments;
  const dim3 query_grid(segments * a.head_count, ceil_div(rows, kTile), ceil_div(s.d, kTile));
  query_gradient_kernel<<<query_grid, kTileThreads, 0, stream>>>(
      elements<float>(score_gradient), elements<float>(a.keys), elements<float>(query_gradient),
      query_gradient.row_stride(), s);
  check_launch("gate_scores_backward (queries)");
  const dim3 key_grid(segments * (a.head_count / s.group), ceil_div(a.layout->max_blocks, kTile),
                      ceil_div(s.d, kTile));
  key_gradient_kernel<<<key_grid, kKeyGroups * kTileThreads, 0, stream>>>(
      elements<float>(score_gradient), elements<float>(a.queries), elements<float>(key_gradient),
      key_gradient.row_stride(), s);
  check_launch("gate_scores_backward (keys)");
}

}  // namespace seer::cuda
