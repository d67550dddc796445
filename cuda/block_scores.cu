// Scores of blocks that need no trained gate: by signs, by position. Those along antidiagonals are in antidiagonal.cu.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/score_row.cuh"
#include "src/core/ceil_div.h"
#include "src/ops/score_order.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    split_signs_kernel(const float* x, int64_t elements, int64_t channels, float* out) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= elements) return;
  float* to = out + at / channels * 2 * channels + at % channels;
  to[0] = max_nan(x[at], 0.0F);
  to[channels] = min_nan(x[at], 0.0F);
}

/// Block (row, head, segment).
__global__ void __launch_bounds__(kThreads)
    position_scores_kernel(PositionScores kind, uint64_t seed, const ScoreSegment* segments,
                           int64_t query_rows, int64_t head_begin, int64_t head_count, float* scores) {
  const ScoreSegment& segment = segments[blockIdx.z];
  if (blockIdx.x >= segment.queries.rows) return;
  const ScoreRow row = score_row(segment, head_count, query_rows, blockIdx.y, blockIdx.x);
  for (int64_t j = threadIdx.x; j <= row.position; j += kThreads) {
    scores[row.begin + j] = kind == PositionScores::kRandom
                                ? block_hash(seed, head_begin + blockIdx.y, row.position, j)
                                : static_cast<float>(j == 0 ? segment.blocks : j);
  }
}

}  // namespace

void split_signs(cudaStream_t stream, ConstTensor x, Tensor out) {
  if (x.numel() == 0) return;
  split_signs_kernel<<<ceil_div(x.numel(), kThreads), kThreads, 0, stream>>>(elements<float>(x), x.numel(),
                                                                             x.dim(2), elements<float>(out));
  check_launch("split_signs");
}

void position_scores(cudaStream_t stream, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                     int64_t head_begin, int64_t head_count, Tensor scores) {
  const int64_t longest = most_rows(layout.segments);
  if (longest == 0 || head_count == 0) return;
  const dim3 grid(longest, head_count, grid_axis(layout.segments.host.size()));
  position_scores_kernel<<<grid, kThreads, 0, stream>>>(kind, seed, device_table(layout.segments),
                                                        layout.num_query_rows, head_begin, head_count,
                                                        elements<float>(scores));
  check_launch("position_scores");
}

}  // namespace seer::cuda
