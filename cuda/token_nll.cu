// Negative log-likelihood of the next token. One block computes one row of logits, read twice: for its maximum, from
// memory, and for the sum of its exponentials, mostly from L2.
#include <cmath>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 512;

/// Calls function(element) for this thread's elements of the row.
template <typename T, int N, typename Function>
__device__ void for_each_element(const T* row, int64_t size, Function&& function) {
#pragma unroll 4
  for (int64_t at = static_cast<int64_t>(threadIdx.x) * N; at < size; at += kThreads * N) {
    const auto values = load<T, N>(row + at);
#pragma unroll
    for (int i = 0; i < N; ++i) function(to_float(values.values[i]));
  }
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    token_nll_kernel(const T* logits, int64_t stride, int64_t vocabulary, const int32_t* targets, float* nll,
                     DeviceFault* fault) {
  const int64_t s = blockIdx.x;
  const int32_t target = targets[s];
  if (target < 0 || target >= vocabulary) {
    if (threadIdx.x > 0) return;
    if (target >= 0)
      *fault = {DeviceFault::kByTarget, target, s, vocabulary};  // the queue's next synchronisation throws
    nll[s] = target < 0 ? 0.0F : __int_as_float(0x7fffffff);
    return;
  }
  const T* row = logits + s * stride;
  float maximum = kMinusInfinity;
  for_each_element<T, N>(row, vocabulary, [&](float x) { maximum = max_nan(maximum, x); });
  maximum = block_reduce<kThreads>(maximum, MaxNan());
  double sum = 0;
  for_each_element<T, N>(row, vocabulary, [&](float x) { sum += expf(x - maximum); });
  sum = block_reduce<kThreads>(sum, Sum());
  if (threadIdx.x == 0) {
    nll[s] = static_cast<float>(log(sum) + static_cast<double>(maximum) -
                                static_cast<double>(to_float(row[target])));
  }
}

}  // namespace

void token_nll(cudaStream_t stream, ConstTensor logits, ConstTensor targets, Tensor nll, DeviceFault* fault) {
  if (logits.rows() == 0) return;
  const int64_t vocabulary = logits.dim(1);
  dispatch(logits.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto n) {
      token_nll_kernel<T, n><<<logits.rows(), kThreads, 0, stream>>>(elements<T>(logits), logits.row_stride(),
                                                                     vocabulary, elements<int32_t>(targets),
                                                                     elements<float>(nll), fault);
    };
    if (vectorizes<T>(logits.raw(), vocabulary, logits.row_stride(), kWide<T>)) {
      launch(std::integral_constant<int, kWide<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
  check_launch("token_nll");
}

}  // namespace seer::cuda
