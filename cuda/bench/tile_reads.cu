#include <cstdint>
#include <memory>

#include "cuda/attention/ptx_sm90.cuh"
#include "cuda/bench/tile_reads.h"
#include "cuda/check.h"

namespace seer::cuda {
namespace {

constexpr int kTileBytes = 16384;
constexpr int kStages = 6;  ///< 96 KB: compute capability 8.6 has no more
constexpr int kThreads = 256;
constexpr int kReads = 4096;  ///< Of a thread block
constexpr int kBlocksPerSm = 2;

/// Number of the n-th tile that a thread block reads: a hash (Murmur3's finaliser), so that no two orders are alike.
__device__ uint32_t tile_number(uint32_t n, uint32_t tiles) {
  uint32_t x = blockIdx.x * 0x9e3779b9U + n * 0x85ebca6bU + 1;
  x = (x ^ x >> 16) * 0x85ebca6bU;
  x = (x ^ x >> 13) * 0xc2b2ae35U;
  return __umulhi(x ^ x >> 16, tiles);
}

__global__ void __launch_bounds__(kThreads) read_tiles_kernel(const unsigned char* data, uint32_t tiles) {
  extern __shared__ __align__(128) unsigned char stages[];
  const auto from = [&](int n) { return data + static_cast<int64_t>(tile_number(n, tiles)) * kTileBytes; };
#if __CUDA_ARCH__ >= 900
  __shared__ uint64_t full[kStages];
  if (threadIdx.x > 0) return;
  for (uint64_t& barrier : full) ptx::mbarrier_init(barrier, 1);
  ptx::fence_mbarrier_init();
  uint32_t parity = 0;
  for (int first = 0; first < kReads + kStages; first += kStages) {
    for (int stage = 0; stage < kStages; ++stage) {
      const int n = first + stage;
      if (first > 0 && n - kStages < kReads) ptx::mbarrier_wait(full[stage], parity ^ 1);
      if (n >= kReads) continue;
      ptx::mbarrier_arrive_expect(full[stage], kTileBytes);
      ptx::bulk_load(stages + stage * kTileBytes, from(n), kTileBytes, full[stage]);
    }
    parity ^= 1;
  }
#else
  const auto start = [&](int n) {
    if (n < kReads) {
      const uint32_t to = shared_address(stages) + n % kStages * kTileBytes;
      for (int at = static_cast<int>(threadIdx.x) * 16; at < kTileBytes; at += kThreads * 16) {
        cp_async_16(to + at, from(n) + at, 16);
      }
    }
    cp_async_commit();
  };
  for (int n = 0; n < kStages - 1; ++n) start(n);
  for (int n = 0; n < kReads; ++n) {
    start(n + kStages - 1);
    cp_async_wait<kStages - 1>();
  }
#endif
}

}  // namespace

TileReadCeiling measure_tile_reads(size_t working_set, GpuTimer& timer) {
  const auto tiles = static_cast<uint32_t>(working_set / kTileBytes);
  if (tiles == 0) fail("a working set of {} bytes holds no tile of {}", working_set, kTileBytes);
  struct Free {
    void operator()(unsigned char* memory) const { cudaFree(memory); }
  };
  void* memory = nullptr;
  check(cudaMalloc(&memory, static_cast<size_t>(tiles) * kTileBytes), "cudaMalloc");
  const std::unique_ptr<unsigned char, Free> data(static_cast<unsigned char*>(memory));
  check(cudaMemsetAsync(memory, 1, static_cast<size_t>(tiles) * kTileBytes, timer.stream()),
        "cudaMemsetAsync");

  int device = 0;
  int sms = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  constexpr int kSharedBytes = kStages * kTileBytes;
  check(cudaFuncSetAttribute(read_tiles_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "cudaFuncSetAttribute");
  const int blocks = kBlocksPerSm * sms;
  TileReadCeiling result{.timing = timer.measure([&] {
    read_tiles_kernel<<<blocks, kThreads, kSharedBytes, timer.stream()>>>(data.get(), tiles);
    check_launch("read_tiles");
  })};
  result.gigabytes_per_second = 1e-6 * kTileBytes * kReads * blocks / result.timing.median_ms;
  return result;
}

}  // namespace seer::cuda
