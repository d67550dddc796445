// Attention sampled along antidiagonals (AntidiagonalArgs): x = q k^T over groups of `stride` tokens, its softmax over
// key groups, summed over (query block) x (key block).
//
// x is computed twice, in plain fp32 tiles, rather than kept: the first kernel finds every row's maximum and sum, the
// second adds up p. A tile's term t of `stride` multiplies every stride-th row of q, counted from its groups' t-th last,
// with every stride-th row of k, counted from their t-th. A baseline of evaluation, where twice 2 S^2 D / stride FLOPs a
// head are no hurry.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/score_row.cuh"
#include "cuda/tile_product.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

/// What turns a row of x into p.
struct RowSoftmax {
  float maximum;
  float inverse_sum;
};

template <typename T>
struct AntidiagonalKernelArgs {
  const T* q;
  const T* k;
  int64_t q_stride, k_stride;
  int64_t head_dim;
  int group;
  int64_t head_begin;
  int64_t head_count;
  const Segment* segments;
  const ScoreSegment* matrices;
  int64_t stride;
  int64_t block_groups;     ///< Groups of a block
  int64_t blocks_per_tile;  ///< Blocks on a side of the second kernel's tiles
  int64_t group_rows;       ///< Of the pack: num_query_rows * block_groups
  float factor;             ///< scale / stride
  RowSoftmax* rows;         ///< [head_count][group_rows]
  float* scores;
};

using GroupTile = float[kTile][kTile + 1];

/// One segment and head: its groups, and tiles of x.
template <typename T>
class Groups {
 public:
  __device__ Groups(const AntidiagonalKernelArgs<T>& args, int64_t segment, int64_t head)
      : a_(args), segment_(args.segments[segment]), head_(args.head_begin + head) {}

  /// Of queries: those that begin past the segment's end do not count.
  __device__ int64_t count() const { return groups_from(segment_.queries.rows, 0); }
  /// Key groups 0 .. seen(a) - 1 are seen by query group a.
  __device__ int64_t seen(int64_t a) const { return segment_.queries.position / a_.stride + a + 1; }

  /// tile[r][c] = x[a0 + r, c0 + c], -inf where the row does not see the column or does not exist. All threads call it.
  __device__ void compute(int64_t a0, int64_t c0, GroupTile& tile) const {
    TileProduct product;
    for (int64_t t = 0; t < a_.stride; ++t) {
      const int64_t from = a_.stride - 1 - t;
      product.add(operand(a_.q + (segment_.queries.row + from) * a_.q_stride + head_ * a_.head_dim,
                          a_.q_stride, groups_from(segment_.queries.rows, from)),
                  a0,
                  operand(a_.k + (segment_.key_row + t) * a_.k_stride + head_ / a_.group * a_.head_dim,
                          a_.k_stride, groups_from(segment_.length, t)),
                  c0);
    }
    __syncthreads();  // the tile has been read
    product.for_each([&](int r, int c, float value) {
      const bool visible = a0 + r < count() && c0 + c < seen(a0 + r);
      tile[r][c] = visible ? value * a_.factor : kMinusInfinity;
    });
    __syncthreads();
  }

 private:
  /// Groups of `tokens` tokens that have a token number `first`.
  __device__ int64_t groups_from(int64_t tokens, int64_t first) const {
    return first < tokens ? (tokens - first + a_.stride - 1) / a_.stride : 0;
  }
  __device__ Operand<T, Axis::kDepth> operand(const T* rows, int64_t row_stride, int64_t count) const {
    return {rows, a_.stride * row_stride, count, a_.head_dim};
  }

  const AntidiagonalKernelArgs<T>& a_;
  const Segment& segment_;
  int64_t head_;
};

/// Block (tile of rows, head, segment).
template <typename T>
__global__ void __launch_bounds__(kTileThreads) row_softmax_kernel(AntidiagonalKernelArgs<T> a) {
  __shared__ GroupTile tile;
  __shared__ RowSoftmax state[kTile];
  const Groups<T> groups(a, blockIdx.z, blockIdx.y);
  const int64_t a0 = static_cast<int64_t>(blockIdx.x) * kTile;
  if (a0 >= groups.count()) return;
  const int64_t rows = min(groups.count() - a0, int64_t{kTile});
  if (threadIdx.x < kTile) state[threadIdx.x] = {kMinusInfinity, 0.0F};  // a sum, until the end
  const auto lane = static_cast<int>(threadIdx.x % 32);
  for (int64_t c0 = 0; c0 < groups.seen(a0 + rows - 1); c0 += kTile) {
    groups.compute(a0, c0, tile);
    for (auto r = static_cast<int>(threadIdx.x / 32); r < rows; r += kTileThreads / 32) {  // a warp a row
      const RowSoftmax before = state[r];
      const float maximum =
          max_nan(before.maximum, warp_reduce(max_nan(tile[r][lane], tile[r][lane + 32]), MaxNan()));
      const float sum =
          warp_reduce(expf(tile[r][lane] - maximum) + expf(tile[r][lane + 32] - maximum), Sum());
      __syncwarp();
      if (lane == 0) state[r] = {maximum, before.inverse_sum * expf(before.maximum - maximum) + sum};
    }
  }
  __syncthreads();
  if (threadIdx.x >= rows) return;
  const RowSoftmax done = state[threadIdx.x];
  const int64_t first_row = a.matrices[blockIdx.z].queries.row * a.block_groups;
  a.rows[blockIdx.y * a.group_rows + first_row + a0 + threadIdx.x] = {done.maximum, 1.0F / done.inverse_sum};
}

/// Block (tile of key blocks, tile of query blocks, segment * head_count + head). Blocks of more than kTile groups are
/// one to a tile, and visited in pieces.
template <typename T>
__global__ void __launch_bounds__(kTileThreads) block_sums_kernel(AntidiagonalKernelArgs<T> a) {
  __shared__ GroupTile tile;
  __shared__ float row_sums[kTile][kTile];  // [row][key block of the tile]
  const int64_t segment = blockIdx.z / a.head_count;
  const int64_t head = blockIdx.z % a.head_count;
  const ScoreSegment& matrix = a.matrices[segment];
  const int64_t query_block = blockIdx.y * a.blocks_per_tile;
  const int64_t key_block = blockIdx.x * a.blocks_per_tile;
  const int64_t query_blocks = min(a.blocks_per_tile, matrix.queries.rows - query_block);
  if (query_blocks <= 0 || key_block > matrix.queries.position + query_block + query_blocks - 1) return;
  const Groups<T> groups(a, segment, head);
  const RowSoftmax* softmax = a.rows + head * a.group_rows + matrix.queries.row * a.block_groups;

  const int64_t side = a.blocks_per_tile * a.block_groups;    // groups
  const int64_t piece = min(a.block_groups, int64_t{kTile});  // of a block, in a tile
  const int64_t a_begin = query_block * a.block_groups;
  const int64_t a_end = min(a_begin + side, groups.count());
  const int64_t c_begin = key_block * a.block_groups;
  constexpr int kSums = kTile * kTile / kTileThreads;
  float sums[kSums] = {};  // of the blocks n * kTileThreads + threadIdx.x
  for (int64_t a0 = a_begin; a0 < a_end; a0 += kTile) {
    for (int64_t c0 = c_begin; c0 < min(c_begin + side, groups.seen(a_end - 1)); c0 += kTile) {
      groups.compute(a0, c0, tile);
      const int64_t rows = min(a_end - a0, min(side, int64_t{kTile}));
      const int64_t columns = min(piece, c_begin + side - c0);
      for (int64_t at = threadIdx.x; at < rows * a.blocks_per_tile; at += kTileThreads) {
        const int64_t r = at / a.blocks_per_tile;
        const int64_t j = at % a.blocks_per_tile;
        const RowSoftmax row = softmax[a0 + r];
        float sum = 0;
        for (int64_t c = j * piece; c < j * piece + columns; ++c) sum += expf(tile[r][c] - row.maximum);
        row_sums[r][j] = sum * row.inverse_sum;
      }
      __syncthreads();
#pragma unroll
      for (int n = 0; n < kSums; ++n) {
        const int64_t at = n * kTileThreads + threadIdx.x;
        if (at >= a.blocks_per_tile * a.blocks_per_tile) break;
        const int64_t i = at / a.blocks_per_tile;
        for (int64_t r = i * piece; r < min((i + 1) * piece, rows); ++r) {
          sums[n] += row_sums[r][at % a.blocks_per_tile];
        }
      }
    }
  }
  float* out = a.scores + matrix_begin(matrix, a.head_count, head);
#pragma unroll
  for (int n = 0; n < kSums; ++n) {
    const int64_t at = n * kTileThreads + threadIdx.x;
    const int64_t i = at / a.blocks_per_tile;
    const int64_t j = key_block + at % a.blocks_per_tile;
    if (i < query_blocks && j <= matrix.queries.position + query_block + i) {
      out[(query_block + i) * matrix.blocks + j] = sums[n];
    }
  }
}

}  // namespace

size_t antidiagonal_workspace(const AntidiagonalArgs& args) {
  return args.head_count * args.blocks->num_query_rows * (args.blocks->block_size / args.stride) *
         sizeof(RowSoftmax);
}

void antidiagonal_scores(cudaStream_t stream, const AntidiagonalArgs& args) {
  const ScoreLayout& blocks = *args.blocks;
  const int64_t most_blocks = most_rows(blocks.segments);
  if (most_blocks == 0 || args.head_count == 0) return;
  const size_t segments = blocks.segments.host.size();
  const int64_t block_groups = blocks.block_size / args.stride;
  const int64_t blocks_per_tile = std::max<int64_t>(1, kTile / block_groups);
  dispatch(args.q.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const AntidiagonalKernelArgs<T> a{.q = elements<T>(args.q),
                                      .k = elements<T>(args.k),
                                      .q_stride = args.q.row_stride(),
                                      .k_stride = args.k.row_stride(),
                                      .head_dim = args.q.dim(2),
                                      .group = static_cast<int>(args.q.dim(1) / args.k.dim(1)),
                                      .head_begin = args.head_begin,
                                      .head_count = args.head_count,
                                      .segments = device_table(args.layout->segments),
                                      .matrices = device_table(blocks.segments),
                                      .stride = args.stride,
                                      .block_groups = block_groups,
                                      .blocks_per_tile = blocks_per_tile,
                                      .group_rows = blocks.num_query_rows * block_groups,
                                      .factor = args.scale / static_cast<float>(args.stride),
                                      .rows = static_cast<RowSoftmax*>(args.workspace.raw()),
                                      .scores = elements<float>(args.scores)};
    const dim3 rows(ceil_div(most_blocks * block_groups, kTile), args.head_count, grid_axis(segments));
    row_softmax_kernel<T><<<rows, kTileThreads, 0, stream>>>(a);
    check_launch("antidiagonal_scores (rows)");
    const dim3 tiles(ceil_div(blocks.max_blocks, blocks_per_tile), ceil_div(most_blocks, blocks_per_tile),
                     grid_axis(segments * args.head_count));
    block_sums_kernel<T><<<tiles, kTileThreads, 0, stream>>>(a);
    check_launch("antidiagonal_scores");
  });
}

}  // namespace seer::cuda
