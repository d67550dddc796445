// The fused attention kernels and what they are handed. Device pointers and strides alone: the launchers take
// them from AttentionArgs (src/ops/backend.h), whose words are used here.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "src/ops/layout.h"

namespace seer::cuda {

/// Rows of queries that one thread block computes at a time: a multiple of every block size, so that no block
/// of the ground truth straddles two thread blocks.
constexpr int kQueryTile = 128;

/// Rows [row, row + kQueryTile) of a segment's queries, cut at its end.
struct QueryTile {
  int32_t segment;
  int32_t row;
};

/// One call of a fused kernel, passed by value. All arithmetic on rows, heads and matrices is 64-bit.
struct AttentionParams {
  const __nv_bfloat16* q = nullptr;  ///< [query rows, heads, D], rows q_stride elements apart
  const __nv_bfloat16* k = nullptr;  ///< [key rows, kv_heads, D]
  const __nv_bfloat16* v = nullptr;  ///< [key rows, kv_heads, D]; not read without o
  __nv_bfloat16* o = nullptr;        ///< [query rows, heads, D], or null: not wanted
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, o_stride = 0;
  int64_t query_rows = 0;  ///< Rows of the q and o tensors
  int64_t key_rows = 0;    ///< Rows of the k and v tensors
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_begin = 0;  ///< Query heads [head_begin, head_begin + head_count) are computed.
  int32_t head_count = 0;
  float scale_log2 = 0;  ///< log2(e) / sqrt(D): scores live in the log2 domain

  float* logsumexp = nullptr;  ///< [head_count][logsumexp_stride], natural log, or null
  int64_t logsumexp_stride = 0;

  float* block_log_max = nullptr;        ///< See AttentionArgs::block_log_max, or null
  const ScoreSegment* blocks = nullptr;  ///< Device: one for each segment
  int32_t block_size = 0;                ///< 16, 32, 64 or 128
  const Segment* segments = nullptr;     ///< Device
  const QueryTile* tiles = nullptr;      ///< Device: all tiles of all segments, those with most keys first
  int32_t num_tiles = 0;
  /// [thread blocks][scratch_blocks][kQueryTile]: maxima waiting for logsumexp. Of a decode call: decode_scratch_bytes().
  float* scratch = nullptr;
  int64_t scratch_blocks = 0;       ///< Key blocks of the longest sequence
  int32_t* tile_counter = nullptr;  ///< Zero at the start: the next piece of work
};

/// Work is numbered so that the query heads of one kv head, and all tiles of it, come one after another: its K and V
/// stay in L2. Piece w of head_count * num_tiles: kv head (of the range) outermost, then tiles, heaviest first,
/// then the group's query heads.
struct WorkItem {
  int32_t tile;
  int32_t head;  ///< In the range: 0 .. head_count - 1
};
__host__ __device__ inline WorkItem work_item(int64_t w, int32_t num_tiles, int32_t head_count,
                                              int32_t group) {
  const int32_t width = head_count < group ? head_count : group;  // heads that share a kv head
  const int64_t per_kv_head = static_cast<int64_t>(num_tiles) * width;
  const auto first = static_cast<int32_t>(w / per_kv_head) * width;
  const int32_t present = head_count - first < width ? head_count - first : width;  // the last may be cut
  const int64_t rest = w % per_kv_head;
  return {static_cast<int32_t>(rest / present), first + static_cast<int32_t>(rest % present)};
}

/// Portable path (mma.sync, cp.async), compute capability 8.0 and later, D of 16, 32, 64, 96, 128, 256.
bool portable_supports(int64_t head_dim);
/// Thread blocks of one launch: each owns scratch_blocks * kQueryTile floats of scratch.
int portable_thread_blocks(int64_t head_dim, int sm_count);
/// Throws Error on launch failure.
void attention_portable(const AttentionParams& params, int64_t head_dim, int thread_blocks,
                        cudaStream_t stream);

/// Hopper path (TMA, wgmma), exactly compute capability 9.0, D of 64 and 128.
bool hopper_supports(int64_t head_dim);
int hopper_thread_blocks(int64_t head_dim, int sm_count);
void attention_hopper(const AttentionParams& params, int64_t head_dim, int thread_blocks,
                      cudaStream_t stream);

}  // namespace seer::cuda
