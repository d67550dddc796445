// The gradient of a gate's distance bias (src/ops/distance_bias.h): sums of the scores' gradients over the diagonals of
// every head's matrices, then over the ramps of the curve. The first kernel reads the gradients once (bound by that); the
// second is 29 sums of as many terms as there are distances.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/score_row.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;

/// Block (tile of 32 distances, head): lanes have neighbouring distances, warps every kWarps-th row. sums [head_count,
/// distances + 1], the last of a head over its first column; always added up in the same order.
__global__ void __launch_bounds__(kThreads)
    diagonal_sums_kernel(const float* gradient, const ScoreSegment* segments, int num_segments,
                         int64_t head_count, int64_t distances, float* sums) {
  __shared__ float of_warp[kWarps][32];
  const int64_t head = blockIdx.y;
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const int64_t distance = static_cast<int64_t>(blockIdx.x) * 32 + lane;
  float sum = 0;
  float of_first = 0;
  for (int n = 0; n < num_segments; ++n) {
    const ScoreSegment& segment = segments[n];
    const float* matrix = gradient + matrix_begin(segment, head_count, head);
#pragma unroll 4
    for (int64_t i = warp; i < segment.queries.rows; i += kWarps) {
      const int64_t j = segment.queries.position + i - distance;
      if (j >= 0) sum += matrix[i * segment.blocks + j];
    }
    if (blockIdx.x > 0) continue;
    for (int64_t i = threadIdx.x; i < segment.queries.rows; i += kThreads)
      of_first += matrix[i * segment.blocks];
  }
  of_warp[warp][lane] = sum;
  __syncthreads();
  float* out = sums + head * (distances + 1);
  if (warp == 0 && distance < distances) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += of_warp[w][lane];
    out[distance] = total;
  }
  if (blockIdx.x > 0) return;
  of_first = block_reduce<kThreads>(of_first, Sum());
  if (threadIdx.x == 0) out[distances] = of_first;
}

/// Block head: a warp for each weight.
__global__ void __launch_bounds__(1024)
    distance_gradient_kernel(const float* sums, int64_t distances, int64_t head_begin, float* gradient) {
  const auto term = static_cast<int>(threadIdx.x / 32);
  if (term >= kDistanceTerms) return;
  const float* of_head = sums + blockIdx.x * (distances + 1);
  float sum = 0;
  for (int64_t distance = threadIdx.x % 32; distance < distances && term < kDistanceRamps; distance += 32) {
    sum += distance_ramp<float>(term, distance) * of_head[distance];
  }
  sum = warp_reduce(sum, Sum());
  if (term == kDistanceRamps) sum = of_head[distances];
  if (threadIdx.x % 32 == 0) {
    gradient[(head_begin + blockIdx.x) * kDistanceTerms + term] += kDistanceScale * sum;
  }
}

}  // namespace

void distance_bias_backward(cudaStream_t stream, const ScoreArgs& a, ConstTensor score_gradient,
                            const ScoreGradients& gradients) {
  const int64_t distances = a.layout->max_blocks;
  auto* sums = elements<float>(gradients.distance_sums);
  const dim3 grid(ceil_div(distances, 32), a.head_count);
  diagonal_sums_kernel<<<grid, kThreads, 0, stream>>>(
      elements<float>(score_gradient), device_table(a.layout->segments),
      static_cast<int>(a.layout->segments.host.size()), a.head_count, distances, sums);
  check_launch("distance bias backward (diagonals)");
  distance_gradient_kernel<<<a.head_count, 1024, 0, stream>>>(sums, distances, a.head_begin,
                                                              elements<float>(gradients.distance));
  check_launch("distance bias backward (ramps)");
}

}  // namespace seer::cuda
