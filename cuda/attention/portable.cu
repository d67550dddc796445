// Causal attention with pooled ground truth (SEMANTICS 1 and 3) on mma.sync: every chip from compute
// capability 8.0 on. For each row of queries, s being its scores q k^T in raw units,
//
//   o   = softmax(scale s) v                         bf16
//   lse = ln sum_j exp(scale s_j)                    fp32
//   block_log_max[i][j] = max over the rows of query block i and the keys of key block j of scale s - lse
//
// One thread block computes kQueryTile rows of one head at a time and fetches such pieces of work from a
// counter until none is left. K and V tiles stream through a ring of shared-memory stages by cp.async, two
// barriers a key tile. A warp has its rows to itself: scores, softmax and output stay in its registers. The
// block maxima wait in the thread block's scratch in global memory (one 128-byte line for each warp and key
// block, mostly in L2) until the row's lse is known; the tail of a piece reads them once.
//
//   head_dim | warps x rows | keys | stages | shared memory    | accumulators | thread blocks
//            |              |      |        | q + ring         | registers    | per multiprocessor
//   ---------|--------------|------|--------|------------------|--------------|-------------------
//     16     |    4 x 32    |  64  |   3    |  4 +  6 = 10 KB  | o  16 + s 64 |   3
//     32     |    4 x 32    |  64  |   3    |  8 + 12 = 20 KB  | o  32 + s 64 |   3
//     64     |    4 x 32    |  64  |   3    | 16 + 24 = 40 KB  | o  64 + s 64 |   2
//     96     |    4 x 32    |  64  |   3    | 24 + 36 = 60 KB  | o  96 + s 64 |   2
//    128     |    4 x 32    |  64  |   3    | 32 + 48 = 80 KB  | o 128 + s 64 |   2
//    256     |    8 x 16    |  32  |   2    | 64 + 32 = 96 KB  | o 128 + s 16 |   1
//
// 32 rows a warp, because a K or V fragment read from shared memory (128 bytes a clock) then feeds two mma:
// with 16 rows the same kernel is a third slower. Thread blocks share a multiprocessor so that one's
// softmax runs under another's matrix products: 80 KB fit twice into compute capability 8.0's 164 KB, 128
// threads x 255 registers twice into 64 K. 96 KB is what compute capability 8.6 and 8.9 (99 KB) leave to
// head_dim 256, whose output would not fit the registers of 32-row warps. Queries are read again from
// shared memory for every key tile: registers are the scarcer.
//
// Bound: the tensor cores, 2 S^2 D FLOP a head and sequence (causal). Measured on an H200, 32 query and 8
// kv heads, head_dim 128, block 64, 32k tokens: 367 TFLOP/s with o, 323 without; without block maxima 381
// and 341.
#include <cstdint>

#include <cuda_bf16.h>

#include "cuda/attention/attention.h"
#include "cuda/attention/portable_dispatch.h"
#include "cuda/attention/portable_mma.cuh"
#include "cuda/attention/portable_softmax.cuh"
#include "cuda/attention/portable_tile.cuh"
#include "cuda/attention/ptx_sm80.cuh"
#include "cuda/check.h"

namespace seer::cuda {
namespace portable {
namespace {

// ---- kernel: one piece of work after the other

/// One piece of work: rows of a segment, one head. 64-bit where it counts rows or elements of whole tensors.
struct Piece {
  int segment;
  int head;    ///< In the range
  int q_head;  ///< In the tensor
  int kv_head;
  int first;  ///< First row, counted in the segment
  int rows;
  int position;     ///< Of the first row
  int keys;         ///< That the last row sees
  int64_t row;      ///< In q and o
  int64_t key_row;  ///< In k and v
};

__device__ Piece find_piece(const AttentionParams& params, int work) {
  const int group = params.heads / params.kv_heads;
  const WorkItem item = work_item(work, params.num_tiles, params.head_count, group);
  const QueryTile tile = params.tiles[item.tile];
  const Segment& segment = params.segments[tile.segment];
  Piece piece;
  piece.segment = tile.segment;
  piece.head = item.head;
  piece.q_head = params.head_begin + item.head;
  piece.kv_head = piece.q_head / group;
  piece.first = tile.row;
  piece.rows = static_cast<int>(min(int64_t{kQueryTile}, segment.queries.rows - tile.row));
  piece.position = static_cast<int>(segment.queries.position) + tile.row;
  piece.keys = piece.position + piece.rows;
  piece.row = segment.queries.row + tile.row;
  piece.key_row = segment.key_row;
  return piece;
}

template <int kWarps>
__device__ void write_block_maxima(const AttentionParams& params, const Piece& piece, const float* scratch,
                                   const RowState* states) {
  const ScoreSegment& blocks = params.blocks[piece.segment];
  const int64_t matrix_rows = blocks.queries.rows;
  const int columns = static_cast<int>(blocks.blocks);
  float* matrix =
      params.block_log_max + blocks.matrix * params.head_count +
      (piece.head * matrix_rows + piece.first / params.block_size) * static_cast<int64_t>(columns);
  const auto write = [&]<int kBlock>() {
    write_block_maxima<kBlock, kWarps>(scratch, states, params.scale_log2, piece.rows, piece.position, matrix,
                                       columns);
  };
  switch (params.block_size) {
    case 16:
      return write.template operator()<16>();
    case 32:
      return write.template operator()<32>();
    case 64:
      return write.template operator()<64>();
    default:
      return write.template operator()<128>();
  }
}

template <int kHeadDim, bool kOutput, Maxima kMaxima>
__global__ void __launch_bounds__(Shape<kHeadDim>::kThreads, Shape<kHeadDim>::kBlocksPerSm)
    attention_kernel(const __grid_constant__ AttentionParams params) {
  using S = Shape<kHeadDim>;
  using Layout = Swizzle<kHeadDim>;
  using Copy = TileCopy<S>;
  using Ring = KeyRing<S, kOutput>;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ int next_work;

  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const int warp_row = warp * S::kWarpRows;
  unsigned char* const warp_queries = shared + warp_row * S::kRowBytes;
  // Matrices of ldmatrix: top left, bottom left, top right, bottom right of a 16 x 16 tile; for the keys,
  // whose rows are the columns of mma, top left, top right, bottom left, bottom right.
  const uint32_t lane_queries = shared_address(warp_queries) + Layout::offset(lane % 16, lane / 16);
  const uint32_t lane_keys = Layout::offset(lane / 16 * 8 + lane % 8, lane / 8 % 2);
  const uint32_t lane_values = Layout::offset(lane % 16, lane / 16);
  // Once a piece's keys are through, the ring's memory takes the state of its rows.
  static_assert(kQueryTile * sizeof(RowState) <= S::kStages * S::kStageBytes);
  auto* const states = reinterpret_cast<RowState*>(shared + S::kQueryBytes);
  float* const scratch = params.scratch + blockIdx.x * params.scratch_blocks * kQueryTile;

  const int works = params.num_tiles * params.head_count;
  for (int work = static_cast<int>(blockIdx.x); work < works;) {
    const Piece piece = find_piece(params, work);
    const __nv_bfloat16* queries = params.q + piece.row * params.q_stride + int64_t{piece.q_head} * kHeadDim;
    Copy::template start<kQueryTile>(shared_address(shared), Copy::source(queries, params.q_stride),
                                     params.q_stride, piece.rows);
    const int64_t kv_column = int64_t{piece.kv_head} * kHeadDim;
    Ring ring(shared_address(shared + S::kQueryBytes),
              {params.k + piece.key_row * params.k_stride + kv_column, params.k_stride,
               kOutput ? params.v + piece.key_row * params.v_stride + kv_column : nullptr, params.v_stride,
               piece.keys});
    ring.start();  // the queries belong to the group of the first keys
    if (threadIdx.x == 0) next_work = static_cast<int>(gridDim.x) + atomicAdd(params.tile_counter, 1);

    OnlineSoftmax<S> softmax(params.scale_log2);
    BlockMaxima<S, kMaxima> block_maxima(scratch + warp_row, params.block_size, piece.keys);
    Output<S> o = {};

    for (int t = 0; t * S::kKeyTile < piece.keys; ++t) {
      const int key = t * S::kKeyTile;
      Scores<S> s;
      multiply_queries_keys<S>(s, lane_queries, ring.template next<Ring::kKey>(t) + lane_keys);

      // Every row sees key 0, so from the first tile on its maximum is a number.
      if (key + S::kKeyTile > piece.position + warp_row + 1) {
        mask_future<S>(s, piece.position + warp_row, key);
      }
      float maxima[S::kRows];
      block_maxima.take(s, key, maxima);
#pragma unroll
      for (float& maximum : maxima) {
        maximum = max_nan(maximum, __shfl_xor_sync(kAllLanes, maximum, 1));
        maximum = max_nan(maximum, __shfl_xor_sync(kAllLanes, maximum, 2));
      }
      block_maxima.take_tile(maxima, key);
      float factor[S::kRows];
      const bool raised = softmax.raise(maxima, factor);
      softmax.exponentials(s);

      if constexpr (kOutput) {
        if (raised) scale_rows<S>(o, factor);
        Probabilities<S> p;
        round_probabilities<S>(s, p);
        add_weighted_values<S>(o, p, ring.template next<Ring::kValue>(t) + lane_values);
      }
    }

    softmax.finish();
    const Piece done = find_piece(params, work);  // again, so that the loop above has its registers
    if constexpr (kOutput) {
      float inverse[S::kRows];
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) inverse[i] = 1.0F / softmax.sum(i);
      scale_rows<S>(o, inverse);
      write_output<S>(o, warp_queries,
                      params.o + (done.row + warp_row) * params.o_stride + int64_t{done.q_head} * kHeadDim,
                      params.o_stride, done.rows - warp_row);
    }
    __syncthreads();  // the ring is free
    if (lane % 4 == 0) {
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) states[warp_row + 8 * i + lane / 4] = softmax.state(i);
    }
    __syncthreads();  // states and scratch are complete
    if (params.logsumexp != nullptr && static_cast<int>(threadIdx.x) < done.rows) {
      const RowState state = states[threadIdx.x];
      params.logsumexp[done.head * params.logsumexp_stride + done.row + threadIdx.x] =
          (state.maximum + state.log2_sum) * kLn2;
    }
    if constexpr (kMaxima != Maxima::kNone) write_block_maxima<S::kWarps>(params, done, scratch, states);
    work = next_work;
    __syncthreads();  // shared memory is free
  }
}

// ---- launchers

template <int kHeadDim, bool kOutput, Maxima kMaxima>
void launch(const AttentionParams& params, int thread_blocks, cudaStream_t stream) {
  using S = Shape<kHeadDim>;
  const auto kernel = attention_kernel<kHeadDim, kOutput, kMaxima>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes),
        "shared memory of the portable attention kernel");
  kernel<<<thread_blocks, S::kThreads, S::kSharedBytes, stream>>>(params);
  check_launch("attention_portable");
}

template <int kHeadDim, bool kOutput>
void launch(const AttentionParams& params, int thread_blocks, cudaStream_t stream) {
  if (params.block_log_max == nullptr) {
    launch<kHeadDim, kOutput, Maxima::kNone>(params, thread_blocks, stream);
  } else if (params.block_size < Shape<kHeadDim>::kKeyTile) {
    launch<kHeadDim, kOutput, Maxima::kOfPieces>(params, thread_blocks, stream);
  } else {
    launch<kHeadDim, kOutput, Maxima::kOfTiles>(params, thread_blocks, stream);
  }
}

template <int kHeadDim>
void launch(const AttentionParams& params, int thread_blocks, cudaStream_t stream) {
  if (params.o != nullptr) {
    launch<kHeadDim, true>(params, thread_blocks, stream);
  } else {
    launch<kHeadDim, false>(params, thread_blocks, stream);
  }
}

void check_params(const AttentionParams& params, int thread_blocks) {
  check_rows("q", params.q, params.q_stride);
  check_rows("k", params.k, params.k_stride);
  if (params.o != nullptr) {
    check_rows("v", params.v, params.v_stride);
    check_rows("o", params.o, params.o_stride);
  }
  if (params.kv_heads <= 0 || params.heads % params.kv_heads != 0) {
    fail("attention: {} query heads cannot share {} kv heads", params.heads, params.kv_heads);
  }
  if (params.head_begin < 0 || params.head_begin + int64_t{params.head_count} > params.heads) {
    fail("attention: {} heads from {} on of {}", params.head_count, params.head_begin, params.heads);
  }
  if (!(params.scale_log2 > 0)) fail("attention: scale {} is not positive", params.scale_log2);
  constexpr int64_t kMost = INT32_MAX;  // positions within a sequence and pieces of work are 32-bit
  if (params.key_rows > kMost - kQueryTile ||
      int64_t{params.num_tiles} * params.head_count > kMost - 2 * int64_t{thread_blocks}) {
    fail("attention: {} keys, {} tiles and {} heads are too many for one launch", params.key_rows,
         params.num_tiles, params.head_count);
  }
  if (params.block_log_max == nullptr) return;
  const int block = params.block_size;
  if (block != 16 && block != 32 && block != 64 && block != 128) {
    fail("attention: block maxima for blocks of 16, 32, 64 or 128 tokens, not {}", block);
  }
  if (params.scratch == nullptr || reinterpret_cast<uintptr_t>(params.scratch) % 16 != 0) {
    fail("attention: block maxima need scratch that begins at a multiple of 16 bytes, not at {}",
         static_cast<const void*>(params.scratch));
  }
}

}  // namespace
}  // namespace portable

bool portable_supports(int64_t head_dim) {
  return head_dim == 16 || head_dim == 32 || head_dim == 64 || head_dim == 96 || head_dim == 128 ||
         head_dim == 256;
}

int portable_thread_blocks(int64_t head_dim, int sm_count) {
  return portable::with_head_dim(
      head_dim, [&]<int kHeadDim>() { return sm_count * portable::Shape<kHeadDim>::kBlocksPerSm; });
}

void attention_portable(const AttentionParams& params, int64_t head_dim, int thread_blocks,
                        cudaStream_t stream) {
  portable::check_params(params, thread_blocks);
  if (params.num_tiles == 0 || params.head_count == 0) return;
  portable::with_head_dim(head_dim,
                          [&]<int kHeadDim>() { portable::launch<kHeadDim>(params, thread_blocks, stream); });
}

}  // namespace seer::cuda
