// x[i] = deviation * normal(seed, i): Box-Muller on a hash of the counter, so no state and any order of threads.
// A thread makes 8 numbers and stores 16 bytes; bound by the stores.
#include <algorithm>

#include "cuda/bench/random_fill.h"
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 8;
constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15ULL;  // spreads neighbouring counters over 64 bits

/// The finaliser of SplitMix64: every bit of the result depends on every bit of z.
__device__ uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

/// Two independent normal numbers from 64 random bits.
__device__ float2 normal_pair(uint64_t bits) {
  constexpr float kPi = 3.14159265F;
  constexpr float kPerBit = 0x1p-32F;
  const auto low = static_cast<float>(static_cast<uint32_t>(bits));
  const auto high = static_cast<float>(static_cast<uint32_t>(bits >> 32));
  const float radius = sqrtf(-2.0F * __logf(fmaf(low, kPerBit, 0.5F * kPerBit)));  // of a number in (0, 1]
  float sine;
  float cosine;
  __sincosf(fmaf(high, 2.0F * kPi * kPerBit, -kPi), &sine, &cosine);
  return {radius * cosine, radius * sine};
}

__global__ void __launch_bounds__(kThreads)
    fill_random_kernel(bf16* x, int64_t count, uint64_t seed, float deviation) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * kPerThread;
  const uint64_t start = mix(seed + kGoldenRatio);
  int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPerThread;
  for (; i < count; i += step) {
    Vector<bf16, kPerThread> out;
#pragma unroll
    for (int j = 0; j < kPerThread; j += 2) {
      const float2 pair = normal_pair(mix(start + static_cast<uint64_t>(i + j) * kGoldenRatio));
      out.values[j] = __float2bfloat16_rn(deviation * pair.x);
      out.values[j + 1] = __float2bfloat16_rn(deviation * pair.y);
    }
    if (i + kPerThread <= count) {
      store(x + i, out);
    } else {
#pragma unroll
      for (int j = 0; j < kPerThread; ++j) {
        if (i + j < count) x[i + j] = out.values[j];
      }
    }
  }
}

}  // namespace

void fill_random(__nv_bfloat16* x, int64_t count, uint64_t seed, float deviation, cudaStream_t stream) {
  SEER_CHECK(reinterpret_cast<uintptr_t>(x) % 16 == 0, "not aligned to 16 bytes");
  if (count == 0) return;
  constexpr int64_t kMostBlocks = 8192;
  const int64_t blocks = std::min(kMostBlocks, ceil_div(count, int64_t{kThreads} * kPerThread));
  fill_random_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(x, count, seed, deviation);
  check_launch("fill_random");
}

}  // namespace seer::cuda
