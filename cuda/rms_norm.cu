// RMSNorm over the last axis: y = x / sqrt(mean(x^2) + eps) * weight (SEMANTICS 1), with the backward decode gates
// need. A vector is read once and stays in registers until it is written.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

/// Vectors of `channels`: `heads` in each of the tensor's rows.
struct Vectors {
  int64_t count;
  int heads;
  int channels;
  int64_t x_stride, out_stride;
};

/// kThreads threads normalise one vector, each kItems pieces of N elements. Blocks hold kGroups vectors.
template <typename T, int N, int kThreads, int kItems, int kGroups>
__global__ void __launch_bounds__(kThreads* kGroups)
    rms_norm_kernel(const T* x, const T* weight, float eps, T* out, Vectors v) {
  static_assert(kThreads == 32 || kGroups == 1);
  const int64_t vector = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kThreads;
  if (vector >= v.count) return;
  const auto lane = static_cast<int>(threadIdx.x % kThreads);
  const T* from = x + vector / v.heads * v.x_stride + vector % v.heads * v.channels;
  T* to = out + vector / v.heads * v.out_stride + vector % v.heads * v.channels;

  Vector<T, N> items[kItems];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int c = (i * kThreads + lane) * N;
    if (c >= v.channels) break;
    items[i] = load<T, N>(from + c);
#pragma unroll
    for (int e = 0; e < N; ++e) sum += to_float(items[i].values[e]) * to_float(items[i].values[e]);
  }
  sum = block_reduce<kThreads>(sum, Sum());
  const float inverse = 1.0F / sqrtf(sum / static_cast<float>(v.channels) + eps);
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int c = (i * kThreads + lane) * N;
    if (c >= v.channels) break;
    const auto w = load<T, N>(weight + c);
#pragma unroll
    for (int e = 0; e < N; ++e) {
      items[i].values[e] = from_float<T>(to_float(items[i].values[e]) * inverse * to_float(w.values[e]));
    }
    store<T, N>(to + c, items[i]);
  }
}

/// Picks the fewest threads and pieces that hold a vector.
template <typename T, int N>
void launch(cudaStream_t stream, const T* x, const T* weight, float eps, T* out, const Vectors& v) {
  const auto run = [&](auto threads, auto items, auto groups) {
    const int64_t blocks = ceil_div(v.count, groups);
    rms_norm_kernel<T, N, threads, items, groups>
        <<<blocks, threads * groups, 0, stream>>>(x, weight, eps, out, v);
  };
  constexpr auto k1 = std::integral_constant<int, 1>();
  constexpr auto k2 = std::integral_constant<int, 2>();
  constexpr auto k4 = std::integral_constant<int, 4>();
  constexpr auto k8 = std::integral_constant<int, 8>();
  constexpr auto k32 = std::integral_constant<int, 32>();
  constexpr auto k256 = std::integral_constant<int, 256>();
  constexpr auto k1024 = std::integral_constant<int, 1024>();
  const int64_t pieces = ceil_div(v.channels, N);
  if (pieces <= 32)
    run(k32, k1, k4);
  else if (pieces <= 64)
    run(k32, k2, k4);
  else if (pieces <= 256)
    run(k256, k1, k1);
  else if (pieces <= 512)
    run(k256, k2, k1);
  else if (pieces <= 1024)
    run(k256, k4, k1);
  else if (pieces <= 8192)
    run(k1024, k8, k1);
  else
    fail("rms_norm over {} channels: the CUDA backend takes {}", v.channels, 8192 * N);
}

/// One block for each vector: x_gradient = i * u - x * i^3 * mean(u * x) with u = w * dy and i = 1/rms.
constexpr int kBackwardThreads = 128;

__device__ float inverse_rms(const float* x, int channels, float eps) {
  float sum = 0;
  for (int c = threadIdx.x; c < channels; c += kBackwardThreads) sum += x[c] * x[c];
  sum = block_reduce<kBackwardThreads>(sum, Sum());
  return 1.0F / sqrtf(sum / static_cast<float>(channels) + eps);
}

struct BackwardArgs {
  const float* x;
  const float* weight;
  const float* out_gradient;
  float* x_gradient;
  float* w_gradient;
  float eps;
  int64_t count;
  int heads, channels;
  int64_t x_stride, out_stride, gradient_stride;
};

__device__ const float* vector_at(const float* base, int64_t stride, const BackwardArgs& a, int64_t v) {
  return base + v / a.heads * stride + v % a.heads * a.channels;
}

__global__ void rms_norm_backward_x(BackwardArgs a) {
  const int64_t v = blockIdx.x;
  const float* x = vector_at(a.x, a.x_stride, a, v);
  const float* dy = vector_at(a.out_gradient, a.out_stride, a, v);
  float* dx = a.x_gradient + v / a.heads * a.gradient_stride + v % a.heads * a.channels;
  const float inverse = inverse_rms(x, a.channels, a.eps);
  float dot = 0;
  for (int c = threadIdx.x; c < a.channels; c += kBackwardThreads) dot += a.weight[c] * dy[c] * x[c];
  dot = block_reduce<kBackwardThreads>(dot, Sum()) / static_cast<float>(a.channels);
  for (int c = threadIdx.x; c < a.channels; c += kBackwardThreads) {
    dx[c] = inverse * a.weight[c] * dy[c] - x[c] * (inverse * inverse * inverse * dot);
  }
}

/// A block owns kBackwardThreads channels of w_gradient and walks all vectors in order.
__global__ void rms_norm_backward_w(BackwardArgs a) {
  const int c = blockIdx.x * kBackwardThreads + threadIdx.x;
  float sum = 0;
  for (int64_t v = 0; v < a.count; ++v) {
    const float* x = vector_at(a.x, a.x_stride, a, v);
    const float inverse = inverse_rms(x, a.channels, a.eps);
    if (c < a.channels) sum += vector_at(a.out_gradient, a.out_stride, a, v)[c] * x[c] * inverse;
  }
  if (c < a.channels) a.w_gradient[c] += sum;
}

}  // namespace

void rms_norm(cudaStream_t stream, ConstTensor x, ConstTensor weight, double eps, Tensor out) {
  if (x.numel() == 0) return;
  const int64_t channels = weight.numel();
  const Vectors v{.count = x.numel() / channels,
                  .heads = static_cast<int>(x.row_size() / channels),
                  .channels = static_cast<int>(channels),
                  .x_stride = x.row_stride(),
                  .out_stride = out.row_stride()};
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    constexpr int kN = kWide<T>;
    const auto* from = elements<T>(x);
    const auto* w = elements<T>(weight);
    if (vectorizes<T>(from, channels, x.row_stride(), kN) && vectorizes<T>(w, channels, channels, kN) &&
        vectorizes<T>(out.raw(), channels, out.row_stride(), kN)) {
      launch<T, kN>(stream, from, w, static_cast<float>(eps), elements<T>(out), v);
    } else {
      launch<T, 1>(stream, from, w, static_cast<float>(eps), elements<T>(out), v);
    }
  });
  check_launch("rms_norm");
}

void rms_norm_backward(cudaStream_t stream, ConstTensor x, ConstTensor weight, double eps,
                       ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) {
  if (x.numel() == 0) return;
  const int64_t channels = weight.numel();
  const BackwardArgs args{.x = elements<float>(x),
                          .weight = elements<float>(weight),
                          .out_gradient = elements<float>(out_gradient),
                          .x_gradient = elements<float>(x_gradient),
                          .w_gradient = elements<float>(w_gradient),
                          .eps = static_cast<float>(eps),
                          .count = x.numel() / channels,
                          .heads = static_cast<int>(x.row_size() / channels),
                          .channels = static_cast<int>(channels),
                          .x_stride = x.row_stride(),
                          .out_stride = out_gradient.row_stride(),
                          .gradient_stride = x_gradient.row_stride()};
  // The weight's first: x_gradient may be out_gradient.
  rms_norm_backward_w<<<ceil_div(channels, kBackwardThreads), kBackwardThreads, 0, stream>>>(args);
  check_launch("rms_norm_backward (weight)");
  rms_norm_backward_x<<<args.count, kBackwardThreads, 0, stream>>>(args);
  check_launch("rms_norm_backward (input)");
}

}  // namespace seer::cuda
