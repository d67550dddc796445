// Sums of many arrays in the order of src/core/tree_order.h: one pass, an element of every array per thread.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"
#include "src/core/tree_order.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDepth = 24;  // of 2^23 arrays

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    sum_parts_kernel(const float* parts, int64_t stride, int64_t count, int64_t size, float* out) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWidth;
  if (i >= size) return;
  Vector<float, kWidth> waiting[kDepth];
  int depth = 0;
  for (int64_t p = 0; p < count; ++p) {
    waiting[depth++] = load<float, kWidth>(parts + p * stride + i);
    for (int merges = tree_merges(p, count); merges > 0; --merges) {
      --depth;
#pragma unroll
      for (int e = 0; e < kWidth; ++e) waiting[depth - 1].values[e] += waiting[depth].values[e];
    }
  }
  store(out + i, waiting[0]);
}

/// The frequent case, of which nothing needs to wait.
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    sum_two_kernel(const float* a, const float* b, int64_t size, float* out) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWidth;
  if (i >= size) return;
  Vector<float, kWidth> x = load<float, kWidth>(a + i);
  const Vector<float, kWidth> y = load<float, kWidth>(b + i);
#pragma unroll
  for (int e = 0; e < kWidth; ++e) x.values[e] += y.values[e];
  store(out + i, x);
}

template <int kWidth>
void launch(cudaStream_t stream, ConstTensor parts, Tensor out) {
  const int64_t size = out.numel();
  const int64_t blocks = ceil_div(size, int64_t{kThreads} * kWidth);
  const auto* from = elements<float>(parts);
  if (parts.rows() == 2) {
    sum_two_kernel<kWidth>
        <<<blocks, kThreads, 0, stream>>>(from, from + parts.row_stride(), size, elements<float>(out));
  } else {
    sum_parts_kernel<kWidth>
        <<<blocks, kThreads, 0, stream>>>(from, parts.row_stride(), parts.rows(), size, elements<float>(out));
  }
}

}  // namespace

void sum_parts(cudaStream_t stream, ConstTensor parts, Tensor out) {
  if (out.numel() == 0) return;
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const bool wide =
      out.numel() % 4 == 0 && parts.row_stride() % 4 == 0 && aligned(parts.raw()) && aligned(out.raw());
  if (wide) {
    launch<4>(stream, parts, out);
  } else {
    launch<1>(stream, parts, out);
  }
  check_launch("sum_parts");
}

}  // namespace seer::cuda
