// The order of sparse attention's work: runs of kRowsTogether block rows of a sequence, counted from its end, by how many
// blocks the heads of a kv head keep of them together; rows that are left at the beginnings of sequences come last. A
// row's place is the number of rows before it, found by comparing it with all: 4 million comparisons for the 2048 rows of
// 128k tokens in blocks of 64. Four threads share a row, so that a short sequence is not a few long loops.
//
// And whether a block row's heads or a head's block rows are to be neighbours: whose lists have more in common, asked of a
// sample of their entries. The heads of a model that shares its choice by kv head keep the same blocks; trained gates of
// seer-small keep at 32k tokens 0.6 of another head's, 0.75 of the row's before.
#include "cuda/attention/sparse.h"
#include "cuda/check.h"
#include "cuda/dependent_launch.h"
#include "cuda/device_code.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kShare = 4;  ///< Threads of a row, neighbours
constexpr int kRows = kThreads / kShare;

/// The block row's segment, by bisection.
__device__ BlockRow find_block_row(const SparseParams& p, int32_t segments, int32_t row) {
  int32_t low = 0;
  int32_t high = segments;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (p.matrices[middle].queries.row <= row)
      low = middle;
    else
      high = middle;
  }
  return {row, low};
}

/// What a block row's place goes by: the largest first, equal ones by row.
__device__ int32_t order_key(const SparseParams& p, int32_t segments, const HeadGroup& group, int32_t row) {
  constexpr int32_t kRun = 1 << 30;  // before all rows that have none
  const RowSpan& rows = p.matrices[find_block_row(p, segments, row).segment].queries;
  const auto first = static_cast<int32_t>(rows.row);
  const auto end = static_cast<int32_t>(rows.row + rows.rows);
  const int32_t begin = end - ((end - 1 - row) / kRowsTogether + 1) * kRowsTogether;
  const bool run = begin >= first;
  int32_t blocks = 0;
  for (int32_t h = group.first; h < group.first + group.count; ++h) {
    const int32_t* counts = p.counts + static_cast<int64_t>(h) * p.block_rows;
#pragma unroll
    for (int32_t i = 0; i < kRowsTogether; ++i) {
      const int32_t of_run = run ? begin + i : row;
      if (run || i == 0) blocks += counts[of_run];
    }
  }
  return run ? kRun + blocks : blocks;
}

/// A step of bisection in an ascending list: how many of its entries are below `block`, from the highest bit on.
__device__ void count_below(const ListRow& list, int32_t block, int32_t bit, int32_t& below) {
  const int32_t next = below + bit;
  if (next <= list.count && __ldg(list.list + next - 1) < block) below = next;
}

__device__ bool holds(const ListRow& list, int32_t block, int32_t below) {
  return below < list.count && __ldg(list.list + below) == block;
}

/// One entry of some list of the kv head: whether the next head's list of its block row has it too (bit 0), and the same
/// head's list of the block row before (bit 16).
__device__ int32_t ask_neighbours(const SparseParams& p, int32_t segments, const HeadGroup& group,
                                  int32_t thread) {
  const auto row = static_cast<int32_t>(static_cast<int64_t>(thread) * p.block_rows / kThreads);
  const BlockRow at = find_block_row(p, segments, row);
  if (row == p.matrices[at.segment].queries.row) return 0;  // its sequence has none before
  const ListRow list = list_row(p, at, group.first + thread % group.count);
  if (list.count == 0) return 0;
  const ListRow across = list_row(p, at, group.first + (thread + 1) % group.count);
  const ListRow before = list_row(p, BlockRow{row - 1, at.segment}, group.first + thread % group.count);
  const auto scattered = static_cast<uint32_t>(thread) * 0x9E3779B1U >> 8;
  const int32_t block = __ldg(list.list + scattered % list.count);
  int32_t below_across = 0;
  int32_t below_before = 0;
  for (int32_t bit = 1 << (31 - __clz(max(max(across.count, before.count), 1))); bit > 0; bit /= 2) {
    count_below(across, block, bit, below_across);
    count_below(before, block, bit, below_before);
  }
  return static_cast<int32_t>(holds(across, block, below_across)) |
         static_cast<int32_t>(holds(before, block, below_before)) << 16;
}

/// All of the thread block. Rows are together where they have almost as much in common as heads: what they do not share
/// is more evenly spread.
__device__ void choose_rows_together(const SparseParams& p, int32_t segments, const HeadGroup& group,
                                     int32_t (&sums)[kThreads], int32_t* rows_together) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  int32_t sum = ask_neighbours(p, segments, group, thread);
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) sum += __shfl_xor_sync(kWholeWarp, sum, lanes);
  sums[thread] = sum;
  __syncthreads();
  if (thread == 0) {
    int32_t all = 0;
    for (int32_t warp = 0; warp < kThreads / 32; ++warp) all += sums[32 * warp];
    const int32_t across = all & 0xFFFF;
    const int32_t before = all >> 16;
    *rows_together = before > 0 && 10 * before >= 9 * across ? kRowsTogether : 1;
  }
}

/// Block (kRows rows or, behind the last of them, the choice of neighbours; number of the kv head).
__global__ void __launch_bounds__(kThreads)
    order_lists_kernel(const __grid_constant__ SparseParams p, int32_t segments, BlockRow* order,
                       int32_t* rows_together) {
  __shared__ int32_t keys[kThreads];
  let_next_kernel_start();
  const HeadGroup group = head_group(p, static_cast<int32_t>(blockIdx.y));
  if (static_cast<int32_t>(blockIdx.x) * kRows >= p.block_rows) {
    choose_rows_together(p, segments, group, keys, rows_together + blockIdx.y);
    return;
  }
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t share = thread % kShare;
  const int32_t row = static_cast<int32_t>(blockIdx.x) * kRows + thread / kShare;
  const int32_t mine = row < p.block_rows ? order_key(p, segments, group, row) : 0;
  int32_t place = 0;
  for (int32_t first = 0; first < p.block_rows; first += kThreads) {
    __syncthreads();
    keys[thread] = first + thread < p.block_rows ? order_key(p, segments, group, first + thread) : -1;
    __syncthreads();
#pragma unroll 8
    for (int32_t i = share; i < kThreads; i += kShare) {
      place += static_cast<int32_t>(keys[i] > mine || (keys[i] == mine && first + i < row));
    }
  }
#pragma unroll
  for (int lanes = 1; lanes < kShare; lanes *= 2) place += __shfl_xor_sync(kWholeWarp, place, lanes);
  if (blockIdx.x == 0 && blockIdx.y == 0 && thread == 0) *p.work_counter = 0;
  if (share == 0 && row < p.block_rows)
    order[static_cast<int64_t>(blockIdx.y) * p.block_rows + place] = find_block_row(p, segments, row);
}

}  // namespace

void order_lists(const SparseParams& p, int32_t segments, BlockRow* order, int32_t* rows_together,
                 cudaStream_t stream) {
  const dim3 grid(ceil_div(p.block_rows, kRows) + 1, kv_heads_used(p));
  order_lists_kernel<<<grid, kThreads, 0, stream>>>(p, segments, order, rows_together);
  check_launch("order_lists");
}

}  // namespace seer::cuda
