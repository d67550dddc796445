// The sparse attention kernels and what they are handed: attention.h's words, and lists of the key blocks that each
// block row of queries keeps.
//
// A list row is one query block of one head. Work is ordered so that the list rows of one kv head come one after
// another, its K and V staying in L2; of these the longest lists first, some block rows at a time. The Hopper kernel loads keys once for several list
// rows that keep them, so neighbours are list rows that are alike: the query heads of a block row, or a head's block rows.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "src/ops/layout.h"

namespace seer::cuda {

/// A block row of the pack and the segment it lies in.
struct BlockRow {
  int32_t row;
  int32_t segment;
};

/// One call of a sparse kernel, passed by value. All arithmetic on rows, heads and matrices is 64-bit.
struct SparseParams {
  const __nv_bfloat16* q = nullptr;  ///< [query rows, heads, D], rows q_stride elements apart
  const __nv_bfloat16* k = nullptr;  ///< [key rows, kv_heads, D]
  const __nv_bfloat16* v = nullptr;  ///< [key rows, kv_heads, D]
  __nv_bfloat16* o = nullptr;        ///< [query rows, heads, D]
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, o_stride = 0;
  int64_t query_rows = 0;  ///< Rows of the q and o tensors
  int64_t key_rows = 0;    ///< Rows of the k and v tensors
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_begin = 0;  ///< Query heads [head_begin, head_begin + head_count) are computed.
  int32_t head_count = 0;
  float scale_log2 = 0;  ///< log2(e) / sqrt(D): scores live in the log2 domain

  const Segment* segments = nullptr;       ///< Device
  const ScoreSegment* matrices = nullptr;  ///< Device: one for each segment
  int32_t block_size = 0;                  ///< 16, 32, 64 or 128
  int32_t block_rows = 0;                  ///< Of all segments
  const int32_t* counts = nullptr;         ///< [head_count][block_rows]
  const int32_t* blocks = nullptr;         ///< BlockLists::blocks
  const BlockRow* order =
      nullptr;  ///< Device: [kv heads of the range][block_rows], longest lists first, in runs of
                ///< kRowsTogether
  int32_t* work_counter = nullptr;  ///< The next piece of work (Hopper); order_lists() sets it to zero
  /// Device: [kv heads of the range]: so many block rows, one after the other in `order`, are neighbours for each head.
  const int32_t* rows_together = nullptr;
};

/// SparseParams::rows_together where a head's block rows are alike; 1 where the heads of a block row are. As many as the
/// Hopper kernel's thread blocks work on at a time.
constexpr int32_t kRowsTogether = 3;

/// Query heads of the range that share a kv head.
struct HeadGroup {
  int32_t first;  ///< In the range
  int32_t count;
};

/// Kv heads that the range's query heads use.
__host__ __device__ inline int32_t kv_heads_used(const SparseParams& p) {
  const int32_t group = p.heads / p.kv_heads;
  return (p.head_begin + p.head_count - 1) / group - p.head_begin / group + 1;
}

/// The heads of the number-th kv head used: the range may cut the first and the last group.
__host__ __device__ inline HeadGroup head_group(const SparseParams& p, int32_t number) {
  const int32_t group = p.heads / p.kv_heads;
  const int32_t begin = (p.head_begin / group + number) * group - p.head_begin;
  const int32_t first = begin < 0 ? 0 : begin;
  const int32_t end = begin + group < p.head_count ? begin + group : p.head_count;
  return {first, end - first};
}

/// A list row, ready to compute.
struct ListRow {
  const int32_t* list;
  int32_t count;
  int32_t segment;
  int32_t first;     ///< First row of queries, counted in the segment
  int32_t rows;      ///< That exist, up to block_size
  int32_t position;  ///< Of the first row in its sequence
};

/// Of the head (in the range).
__device__ inline ListRow list_row(const SparseParams& p, const BlockRow& at, int32_t head) {
  const Segment& segment = p.segments[at.segment];
  const ScoreSegment& matrix = p.matrices[at.segment];
  const int64_t block = at.row - matrix.queries.row;
  const int64_t first = block * p.block_size;
  const int64_t rows = segment.queries.rows - first;
  return {
      .list = p.blocks + matrix.matrix * p.head_count + (head * matrix.queries.rows + block) * matrix.blocks,
      .count = p.counts[static_cast<int64_t>(head) * p.block_rows + at.row],
      .segment = at.segment,
      .first = static_cast<int32_t>(first),
      .rows = static_cast<int32_t>(rows < p.block_size ? rows : p.block_size),
      .position = static_cast<int32_t>(segment.queries.position + first)};
}

/// Of the head (in the range) at this place of its kv head's order.
__device__ inline ListRow list_row(const SparseParams& p, int32_t kv_number, int32_t place, int32_t head) {
  return list_row(p, p.order[static_cast<int64_t>(kv_number) * p.block_rows + place], head);
}

/// Fills `order` and `rows_together` (SparseParams), sets the work counter to zero. Nothing is copied to or from the host.
void order_lists(const SparseParams& params, int32_t segments, BlockRow* order, int32_t* rows_together,
                 cudaStream_t stream);

/// Portable path (mma.sync, cp.async): the head dimensions of portable_supports(), blocks of 16, 32, 64 and 128.
void sparse_attention_portable(const SparseParams& params, int64_t head_dim, cudaStream_t stream);

/// Hopper path (TMA, wgmma), exactly compute capability 9.0.
bool sparse_hopper_supports(int64_t head_dim, int64_t block_size);
void sparse_attention_hopper(const SparseParams& params, int64_t head_dim, int sm_count, cudaStream_t stream);

}  // namespace seer::cuda
