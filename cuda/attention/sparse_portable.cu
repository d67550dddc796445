// Block-sparse attention on mma.sync: every chip from compute capability 8.0 on. portable.cu's kernel with a tile of
// queries that is one query block, and key tiles that come from the block's list: skipped, not masked.
//
// One thread block computes one list row. Its key tiles are filled with what the list names, several blocks to a tile
// where blocks are smaller, a piece of one where they are larger. Lists ascend, so that the causal mask, and what is
// missing to a whole tile, concern the last tiles alone. Thread blocks start in the order of their number: the longest
// lists of a kv head first.
//
//   block | rows a warp x warps | shared memory, D 128: q + ring of 3 key or value tiles of 64 keys
//   ------|---------------------|------------------------------------------------------------------
//    128  |       32 x 4        | 32 + 48 = 80 KB
//     64  |       32 x 2        | 16 + 48 = 64 KB
//     32  |       32 x 1        |  8 + 48 = 56 KB
//     16  |       16 x 1        |  4 + 48 = 52 KB
//
// D 256: 16 rows a warp, twice the warps, tiles of 32 keys, two stages.
//
// Bound: at block 64 every key tile is 4 * 64 * 64 * D FLOPs for 256 D bytes from L2.
#include <cstdint>

#include <cuda_bf16.h>

#include "cuda/attention/portable_dispatch.h"
#include "cuda/attention/portable_mma.cuh"
#include "cuda/attention/portable_softmax.cuh"
#include "cuda/attention/portable_tile.cuh"
#include "cuda/attention/ptx_sm80.cuh"
#include "cuda/attention/sparse.h"
#include "cuda/check.h"

namespace seer::cuda {
namespace portable {
namespace {

constexpr int kNone = INT32_MAX;  ///< No key

/// Which key and value a tile's rows are: those of a list's blocks, one after the other.
template <typename S, int kBlock>
class ListedKeys {
  using Copy = TileCopy<S>;

 public:
  static constexpr bool kWholeBlocks = kBlock < S::kKeyTile;  ///< A tile holds several; else one, or a piece

  /// `k` and `v` point at the first key of the sequence in the kv head's columns; keys from `keys` on, and those of
  /// blocks past the list's end, are zeros.
  __device__ ListedKeys(const ListRow& row, const __nv_bfloat16* k, int64_t k_stride, const __nv_bfloat16* v,
                        int64_t v_stride)
      : source_{Copy::source(k, k_stride), Copy::source(v, v_stride)},
        stride_{k_stride, v_stride},
        list_(row.list),
        count_(row.count),
        keys_(row.position + row.rows) {}

  __device__ int tiles() const { return (count_ * kBlock + S::kKeyTile - 1) / S::kKeyTile; }

  /// The key in row `row` of tile t, or kNone past the list's end. Rows of one block are neighbours.
  __device__ int key(int t, int row) const {
    if constexpr (kWholeBlocks) {
      const int entry = t * (S::kKeyTile / kBlock) + row / kBlock;
      return entry < count_ ? list_[entry] * kBlock + row % kBlock : kNone;
    } else {
      constexpr int kTiles = kBlock / S::kKeyTile;
      return list_[t / kTiles] * kBlock + t % kTiles * S::kKeyTile + row;
    }
  }

  /// Starts copying tile t of the keys (kind 0) or values (1) to `stage`.
  __device__ void start(int kind, int t, uint32_t stage) const {
    if (t >= tiles()) return;
    if constexpr (kWholeBlocks) {
#pragma unroll
      for (int pass = 0; pass < S::kKeyTile; pass += Copy::kPassRows) {
        // source_ is that of the thread's first row already.
        const int mine = key(t, Copy::first_row() + pass);
        const bool present = mine < keys_;
        const int64_t offset = present ? mine - Copy::first_row() : 0;
        Copy::start_row(stage, pass, source_[kind] + offset * stride_[kind], present);
      }
    } else {
      const int first = key(t, 0);
      Copy::template start<S::kKeyTile>(stage, source_[kind] + first * stride_[kind], stride_[kind],
                                        keys_ - first);
    }
  }

  /// Hides the keys of tile t after each row's own position, and what is not in the list. `position` is that of the
  /// warp's first row.
  __device__ void mask(Scores<S>& s, int position, int t) const {
    if constexpr (kWholeBlocks) {
      if (t + 1 < tiles()) return;  // the diagonal block is a list's last
      const auto lane = static_cast<int>(threadIdx.x % kWarpSize);
#pragma unroll
      for (int n = 0; n < S::kKeyTile / 8; ++n) {
        const int column = key(t, 8 * n);
#pragma unroll
        for (int r = 0; r < S::kRowTiles; ++r) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int row = position + lane / 4 + 16 * r + 8 * (e / 2);
            if (column == kNone || column + 2 * (lane % 4) + e % 2 > row) s[r][n][e] = kMinusInfinity;
          }
        }
      }
    } else {
      const int first = key(t, 0);
      if (first + S::kKeyTile > position + 1) mask_future<S>(s, position, first);
    }
  }

 private:
  const __nv_bfloat16* source_[2];
  int64_t stride_[2];
  const int32_t* list_;
  int count_;
  int keys_;
};

template <int kHeadDim, int kBlock>
__global__ void __launch_bounds__(Shape<kHeadDim, kBlock>::kThreads)
    sparse_attention_kernel(const __grid_constant__ SparseParams params) {
  using S = Shape<kHeadDim, kBlock>;
  using Layout = Swizzle<kHeadDim>;
  using Copy = TileCopy<S>;
  using Keys = ListedKeys<S, kBlock>;
  using Ring = KeyRing<S, /*kValues=*/true, Keys>;
  extern __shared__ __align__(128) unsigned char shared[];

  // Pieces of work: kv head, then place in its order, then query head.
  const int group_size = params.heads / params.kv_heads;
  const auto head_at = static_cast<int>(blockIdx.x / params.block_rows);  // were heads outermost
  const int kv_number = (params.head_begin + head_at) / group_size - params.head_begin / group_size;
  const HeadGroup group = head_group(params, kv_number);
  const int64_t rest = blockIdx.x - static_cast<int64_t>(group.first) * params.block_rows;
  const int head = group.first + static_cast<int>(rest % group.count);
  const ListRow row = list_row(params, kv_number, static_cast<int>(rest / group.count), head);
  const Segment& segment = params.segments[row.segment];
  const int64_t query_row = segment.queries.row + row.first;
  const int64_t query_column = static_cast<int64_t>(params.head_begin + head) * kHeadDim;
  const int64_t key_column = static_cast<int64_t>(params.head_begin / group_size + kv_number) * kHeadDim;

  const auto warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const auto lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = warp * S::kWarpRows;
  unsigned char* const warp_queries = shared + warp_row * S::kRowBytes;
  // Matrices of ldmatrix: as in portable.cu.
  const uint32_t lane_queries = shared_address(warp_queries) + Layout::offset(lane % 16, lane / 16);
  const uint32_t lane_keys = Layout::offset(lane / 16 * 8 + lane % 8, lane / 8 % 2);
  const uint32_t lane_values = Layout::offset(lane % 16, lane / 16);

  Output<S> o = {};
  if (row.count > 0) {
    Copy::template start<kBlock>(
        shared_address(shared),
        Copy::source(params.q + query_row * params.q_stride + query_column, params.q_stride), params.q_stride,
        row.rows);
    const Keys keys(row, params.k + segment.key_row * params.k_stride + key_column, params.k_stride,
                    params.v + segment.key_row * params.v_stride + key_column, params.v_stride);
    Ring ring(shared_address(shared + S::kQueryBytes), keys);
    ring.start();  // the queries belong to the group of the first keys

    OnlineSoftmax<S> softmax(params.scale_log2);
    for (int t = 0; t < keys.tiles(); ++t) {
      Scores<S> s;
      multiply_queries_keys<S>(s, lane_queries, ring.template next<Ring::kKey>(t) + lane_keys);
      keys.mask(s, row.position + warp_row, t);
      // Every row sees a key of its first tile, so its maximum is a number from there on.
      float maxima[S::kRows];
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) {
        maxima[i] = kMinusInfinity;
#pragma unroll
        for (int n = 0; n < S::kKeyTile / 8; ++n) {
          const float(&pair)[4] = s[i / 2][n];
          maxima[i] = max_nan(maxima[i], max_nan(pair[i % 2 * 2], pair[i % 2 * 2 + 1]));
        }
        maxima[i] = max_nan(maxima[i], __shfl_xor_sync(kAllLanes, maxima[i], 1));
        maxima[i] = max_nan(maxima[i], __shfl_xor_sync(kAllLanes, maxima[i], 2));
      }
      float factor[S::kRows];
      const bool raised = softmax.raise(maxima, factor);
      softmax.exponentials(s);
      if (raised) scale_rows<S>(o, factor);
      Probabilities<S> p;
      round_probabilities<S>(s, p);
      add_weighted_values<S>(o, p, ring.template next<Ring::kValue>(t) + lane_values);
    }

    softmax.finish();
    float inverse[S::kRows];
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) inverse[i] = 1.0F / softmax.sum(i);
    scale_rows<S>(o, inverse);
  }
  write_output<S>(o, warp_queries, params.o + (query_row + warp_row) * params.o_stride + query_column,
                  params.o_stride, row.rows - warp_row);
}

template <int kHeadDim, int kBlock>
void launch(const SparseParams& params, cudaStream_t stream) {
  using S = Shape<kHeadDim, kBlock>;
  const auto kernel = sparse_attention_kernel<kHeadDim, kBlock>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes),
        "shared memory of the portable sparse attention kernel");
  const auto list_rows = static_cast<unsigned>(params.block_rows * params.head_count);
  kernel<<<list_rows, S::kThreads, S::kSharedBytes, stream>>>(params);
  check_launch("sparse_attention_portable");
}

}  // namespace
}  // namespace portable

void sparse_attention_portable(const SparseParams& params, int64_t head_dim, cudaStream_t stream) {
  portable::check_rows("q", params.q, params.q_stride);
  portable::check_rows("k", params.k, params.k_stride);
  portable::check_rows("v", params.v, params.v_stride);
  portable::check_rows("o", params.o, params.o_stride);
  portable::with_head_dim(head_dim, [&]<int kHeadDim>() {
    switch (params.block_size) {
      case 16:
        return portable::launch<kHeadDim, 16>(params, stream);
      case 32:
        return portable::launch<kHeadDim, 32>(params, stream);
      case 64:
        return portable::launch<kHeadDim, 64>(params, stream);
      case 128:
        return portable::launch<kHeadDim, 128>(params, stream);
      default:
        fail("sparse attention: block size {} is none of 16, 32, 64, 128", params.block_size);
    }
  });
}

}  // namespace seer::cuda
