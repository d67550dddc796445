// The order of sparse attention's work: block rows by how many blocks the heads of a kv head keep of them together.
// A row's place is the number of rows before it, found by comparing it with all: 4 million comparisons for the 2048 rows
// of 128k tokens in blocks of 64. Four threads share a row, so that a short sequence is not a few long loops.
#include "cuda/attention/sparse.h"
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kShare = 4;  ///< Threads of a row, neighbours
constexpr int kRows = kThreads / kShare;

/// Block (kRows rows, number of the kv head).
__global__ void __launch_bounds__(kThreads)
    order_lists_kernel(const __grid_constant__ SparseParams p, int32_t segments, BlockRow* order) {
  __shared__ int32_t lengths[kThreads];
  const HeadGroup group = head_group(p, static_cast<int32_t>(blockIdx.y));
  const auto length = [&](int32_t row) {
    int32_t sum = 0;
    for (int32_t h = group.first; h < group.first + group.count; ++h) {
      sum += p.counts[static_cast<int64_t>(h) * p.block_rows + row];
    }
    return sum;
  };
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t share = thread % kShare;
  const int32_t row = static_cast<int32_t>(blockIdx.x) * kRows + thread / kShare;
  const int32_t mine = row < p.block_rows ? length(row) : 0;
  int32_t place = 0;
  for (int32_t first = 0; first < p.block_rows; first += kThreads) {
    __syncthreads();
    lengths[thread] = first + thread < p.block_rows ? length(first + thread) : -1;
    __syncthreads();
#pragma unroll 8
    for (int32_t i = share; i < kThreads; i += kShare) {
      place += static_cast<int32_t>(lengths[i] > mine || (lengths[i] == mine && first + i < row));
    }
  }
#pragma unroll
  for (int lanes = 1; lanes < kShare; lanes *= 2) place += __shfl_xor_sync(0xFFFFFFFFU, place, lanes);
  if (blockIdx.x == 0 && blockIdx.y == 0 && thread == 0) *p.work_counter = 0;
  if (share != 0) return;
  if (row >= p.block_rows) return;
  int32_t low = 0;  // the row's segment, by bisection
  int32_t high = segments;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (p.matrices[middle].queries.row <= row)
      low = middle;
    else
      high = middle;
  }
  order[static_cast<int64_t>(blockIdx.y) * p.block_rows + place] = {row, low};
}

}  // namespace

void order_lists(const SparseParams& p, int32_t segments, BlockRow* order, cudaStream_t stream) {
  const dim3 grid(ceil_div(p.block_rows, kRows), kv_heads_used(p));
  order_lists_kernel<<<grid, kThreads, 0, stream>>>(p, segments, order);
  check_launch("order_lists");
}

}  // namespace seer::cuda
