// T from the log block maxima (SEMANTICS 3): maxima of neighbouring blocks, exp, rows divided by their sums.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kKept = 16;  ///< Elements of a row that a thread keeps until their sum is known

/// Block (row, head, segment).
__global__ void normalise_target_kernel(const float* log_max, const ScoreSegment* fine,
                                        const ScoreSegment* coarse, int64_t heads, int ratio, float* target) {
  const ScoreSegment& from = fine[blockIdx.z];
  const ScoreSegment& to = coarse[blockIdx.z];
  const int64_t i = blockIdx.x;
  const int64_t head = blockIdx.y;
  if (i >= to.queries.rows) return;
  const int64_t visible = to.queries.position + i + 1;
  const int64_t fine_rows = min(static_cast<int64_t>(ratio), from.queries.rows - i * ratio);
  const float* maxima = log_max + from.matrix * heads + (head * from.queries.rows + i * ratio) * from.blocks;
  float* row = target + to.matrix * heads + (head * to.queries.rows + i) * to.blocks;

  // Row r, column j of the coarse matrix: the maximum over its fine blocks.
  const auto value = [&](int64_t j) {
    if (ratio == 1) return expf(maxima[j]);
    const int64_t fine_columns = min(static_cast<int64_t>(ratio), from.blocks - j * ratio);
    float largest = kMinusInfinity;
    for (int64_t r = 0; r < fine_rows; ++r) {
      for (int64_t c = 0; c < fine_columns; ++c) {
        largest = max_nan(largest, maxima[r * from.blocks + j * ratio + c]);
      }
    }
    return expf(largest);
  };
  float kept[kKept];
  double sum = 0;
#pragma unroll
  for (int n = 0; n < kKept; ++n) {
    const int64_t j = n * kThreads + threadIdx.x;
    kept[n] = j < visible ? value(j) : 0.0F;
  }
#pragma unroll
  for (int n = 0; n < kKept; ++n) sum += kept[n];
  for (int64_t j = kKept * kThreads + threadIdx.x; j < visible; j += kThreads) sum += row[j] = value(j);
  const auto factor = static_cast<float>(1.0 / block_reduce<kThreads>(sum, Sum()));
#pragma unroll
  for (int n = 0; n < kKept; ++n) {
    const int64_t j = n * kThreads + threadIdx.x;
    if (j < to.blocks) row[j] = j < visible ? kept[n] * factor : 0.0F;
  }
  // Every thread returns to the elements it wrote itself.
  for (int64_t j = kKept * kThreads + threadIdx.x; j < to.blocks; j += kThreads) {
    row[j] = j < visible ? row[j] * factor : 0.0F;
  }
}

}  // namespace

void normalise_target(cudaStream_t stream, ConstTensor block_log_max, const ScoreLayout& fine,
                      const ScoreLayout& coarse, int64_t heads, Tensor target) {
  int64_t most_rows = 0;
  for (const ScoreSegment& segment : coarse.segments.host)
    most_rows = std::max(most_rows, segment.queries.rows);
  if (most_rows == 0 || heads == 0) return;
  const dim3 grid(most_rows, heads, coarse.segments.host.size());
  normalise_target_kernel<<<grid, kThreads, 0, stream>>>(
      elements<float>(block_log_max), device_table(fine.segments), device_table(coarse.segments), heads,
      static_cast<int>(coarse.block_size / fine.block_size), elements<float>(target));
  check_launch("normalise_target");
}

}  // namespace seer::cuda
