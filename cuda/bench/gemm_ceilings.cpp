#include "cuda/bench/gemm_ceilings.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "cuda/bench/random_fill.h"
#include "cuda/blas_lt.h"
#include "cuda/check.h"

namespace seer::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;  // for split-k and stream-k; more changes nothing

/// cuBLASLt stores columns: our row-major [rows, width] is its [width, rows].
BlasLtLayout row_major(int64_t rows, int64_t width) {
  return make_layout(CUDA_R_16BF, width, rows, width);
}

struct CudaFree {
  void operator()(void* memory) const { cudaFree(memory); }
};
using DeviceMemory = std::unique_ptr<void, CudaFree>;

DeviceMemory allocate(size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "cudaMalloc");
  return DeviceMemory(memory);
}

DeviceMemory random_matrix(int64_t rows, int64_t width, uint64_t seed, cudaStream_t stream) {
  DeviceMemory matrix = allocate(static_cast<size_t>(rows * width) * sizeof(__nv_bfloat16));
  fill_random(static_cast<__nv_bfloat16*>(matrix.get()), rows * width, seed, 1.0F, stream);
  return matrix;
}

}  // namespace

GemmCeiling measure_gemm(const GemmShape& shape, GpuTimer& timer) {
  const DeviceMemory a = random_matrix(shape.m, shape.k, 1, timer.stream());
  const DeviceMemory w = random_matrix(shape.n, shape.k, 2, timer.stream());
  const DeviceMemory c = allocate(static_cast<size_t>(shape.m * shape.n) * sizeof(__nv_bfloat16));
  const DeviceMemory workspace = allocate(kWorkspaceBytes);

  const BlasLt handle = make_blas_lt();
  const BlasLtProduct product = make_product();
  const BlasLtLayout a_layout = row_major(shape.m, shape.k);
  const BlasLtLayout w_layout = row_major(shape.n, shape.k);
  const BlasLtLayout c_layout = row_major(shape.m, shape.n);

  const BlasLtPreference preference = make_preference(kWorkspaceBytes);
  constexpr int kMostCandidates = 8;
  std::array<cublasLtMatmulHeuristicResult_t, kMostCandidates> candidates;
  int count = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle.get(), product.get(), w_layout.get(), a_layout.get(),
                                       c_layout.get(), c_layout.get(), preference.get(), kMostCandidates,
                                       candidates.data(), &count),
        "cublasLtMatmulAlgoGetHeuristic");

  const auto run = [&](const cublasLtMatmulAlgo_t& algorithm) {
    const float one = 1.0F;
    const float zero = 0.0F;
    check(cublasLtMatmul(handle.get(), product.get(), &one, w.get(), w_layout.get(), a.get(), a_layout.get(),
                         &zero, c.get(), c_layout.get(), c.get(), c_layout.get(), &algorithm, workspace.get(),
                         kWorkspaceBytes, timer.stream()),
          "cublasLtMatmul");
  };

  std::vector<GpuTimer::Enqueue> runs;
  for (int i = 0; i < count; ++i) {
    if (candidates[i].state != CUBLAS_STATUS_SUCCESS) continue;
    runs.push_back([&run, &algorithm = candidates[i].algo] { run(algorithm); });
  }
  if (runs.empty()) fail("cuBLASLt has no bf16 algorithm for {} x {} x {}", shape.m, shape.n, shape.k);

  // A short look at all candidates, then the full measurement of the best.
  GpuTimer look(timer.stream(), {.repeats = 3, .warmups = 1});
  const std::vector<Timing> looks = look.measure_in_turn(runs);
  const auto best = std::min_element(
      looks.begin(), looks.end(), [](const Timing& x, const Timing& y) { return x.median_ms < y.median_ms; });

  GemmCeiling result{.timing = timer.measure(runs[best - looks.begin()])};
  result.tflops = 2e-9 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                  static_cast<double>(shape.k) / result.timing.median_ms;
  return result;
}

CopyCeiling measure_copy(size_t bytes, GpuTimer& timer) {
  const auto count = static_cast<int64_t>(bytes / sizeof(__nv_bfloat16));
  const DeviceMemory from = random_matrix(1, count, 1, timer.stream());
  const DeviceMemory to = allocate(bytes);
  CopyCeiling result{.timing = timer.measure([&] {
    check(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice, timer.stream()),
          "cudaMemcpyAsync");
  })};
  result.gigabytes_per_second = 2e-6 * static_cast<double>(bytes) / result.timing.median_ms;
  return result;
}

}  // namespace seer::cuda
