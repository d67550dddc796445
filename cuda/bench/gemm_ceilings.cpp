#include "cuda/bench/gemm_ceilings.h"

#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>
#include <vector>

#include <cublasLt.h>

#include "cuda/bench/random_fill.h"
#include "cuda/check.h"

namespace seer::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;  // for split-k and stream-k; more changes nothing

void check_blas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) fail("cuBLASLt: {}: {}", call, cublasLtGetStatusString(status));
}

/// One of cuBLASLt's opaque pointers with the function that destroys it.
template <typename Pointer, auto kDestroy>
struct Destroy {
  using pointer = Pointer;
  void operator()(Pointer object) const { kDestroy(object); }
};
template <typename Pointer, auto kDestroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Pointer>, Destroy<Pointer, kDestroy>>;

using Handle = Owned<cublasLtHandle_t, cublasLtDestroy>;
using MatmulDesc = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

Handle make_handle() {
  cublasLtHandle_t handle = nullptr;
  check_blas(cublasLtCreate(&handle), "cublasLtCreate");
  return Handle(handle);
}

/// cuBLASLt stores columns: our row-major [rows, width] is its [width, rows].
Layout make_layout(int64_t rows, int64_t width) {
  cublasLtMatrixLayout_t layout = nullptr;
  check_blas(cublasLtMatrixLayoutCreate(&layout, CUDA_R_16BF, static_cast<uint64_t>(width),
                                        static_cast<uint64_t>(rows), width),
             "cublasLtMatrixLayoutCreate");
  return Layout(layout);
}

/// C^T = W A^T, where cuBLASLt sees W as [k, n] and so must transpose it.
MatmulDesc make_product() {
  cublasLtMatmulDesc_t product = nullptr;
  check_blas(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  MatmulDesc owned(product);
  const cublasOperation_t transpose = CUBLAS_OP_T;
  check_blas(
      cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose)),
      "cublasLtMatmulDescSetAttribute");
  return owned;
}

Preference make_preference() {
  cublasLtMatmulPreference_t preference = nullptr;
  check_blas(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  Preference owned(preference);
  check_blas(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &kWorkspaceBytes, sizeof(kWorkspaceBytes)),
             "cublasLtMatmulPreferenceSetAttribute");
  return owned;
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

  const Handle handle = make_handle();
  const MatmulDesc product = make_product();
  const Layout a_layout = make_layout(shape.m, shape.k);
  const Layout w_layout = make_layout(shape.n, shape.k);
  const Layout c_layout = make_layout(shape.m, shape.n);

  constexpr int kMostCandidates = 8;
  std::array<cublasLtMatmulHeuristicResult_t, kMostCandidates> candidates;
  int count = 0;
  check_blas(cublasLtMatmulAlgoGetHeuristic(handle.get(), product.get(), w_layout.get(), a_layout.get(),
                                            c_layout.get(), c_layout.get(), make_preference().get(),
                                            kMostCandidates, candidates.data(), &count),
             "cublasLtMatmulAlgoGetHeuristic");

  const auto run = [&](const cublasLtMatmulAlgo_t& algorithm) {
    const float one = 1.0F;
    const float zero = 0.0F;
    check_blas(cublasLtMatmul(handle.get(), product.get(), &one, w.get(), w_layout.get(), a.get(),
                              a_layout.get(), &zero, c.get(), c_layout.get(), c.get(), c_layout.get(),
                              &algorithm, workspace.get(), kWorkspaceBytes, timer.stream()),
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
