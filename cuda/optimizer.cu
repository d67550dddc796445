// Global gradient norm and AdamW over flat arrays (SEMANTICS 5): one pass each over all gates of a training.
#include <cmath>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kElementsPerBlock = 16384;

__global__ void square_kernel(const float* x, int64_t count, double* partial) {
  const int64_t begin = blockIdx.x * kElementsPerBlock;
  const int64_t end = min(count, begin + kElementsPerBlock);
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) sum += static_cast<double>(x[i]) * x[i];
  sum = block_reduce<kThreads>(sum, Sum());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void add_partial_kernel(const double* partial, int64_t count, double* slot) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partial[i];
  sum = block_reduce<kThreads>(sum, Sum());
  if (threadIdx.x == 0) *slot += sum;
}

struct AdamWKernelArgs {
  float* weights;
  const float* gradients;
  float* first_moment;
  float* second_moment;
  int64_t count;
  const double* norm_squared;
  const double* not_finite;
  int64_t flags;
  double max_grad_norm;
  float beta1, beta2, rest1, rest2;
  float step_size, root_correction, eps, decay;
};

__global__ void adamw_kernel(AdamWKernelArgs a) {
  const double norm = sqrt(*a.norm_squared);
  int refuse = isfinite(norm) ? 0 : 1;
  for (int64_t f = threadIdx.x; f < a.flags; f += kThreads) refuse |= a.not_finite[f] != 0.0 ? 1 : 0;
  if (__syncthreads_or(refuse) != 0) return;
  const double clip = a.max_grad_norm > 0 ? fmin(1.0, a.max_grad_norm / (norm + 1e-6)) : 1.0;
  const auto grad_scale = static_cast<float>(clip);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.count; i += stride) {
    const float gradient = a.gradients[i] * grad_scale;
    const float m = a.beta1 * a.first_moment[i] + a.rest1 * gradient;
    const float v = a.beta2 * a.second_moment[i] + a.rest2 * gradient * gradient;
    a.first_moment[i] = m;
    a.second_moment[i] = v;
    a.weights[i] = a.decay * a.weights[i] - a.step_size * m / (sqrtf(v) * a.root_correction + a.eps);
  }
}

}  // namespace

size_t norm_workspace(int64_t elements) {
  return ceil_div(elements, kElementsPerBlock) * sizeof(double);
}

void add_squared_norm(cudaStream_t stream, ConstTensor x, Tensor slot, Tensor workspace) {
  if (x.numel() == 0) return;
  SEER_CHECK(x.contiguous(), "the norm of a strided tensor");
  const int64_t blocks = ceil_div(x.numel(), kElementsPerBlock);
  auto* partial = static_cast<double*>(workspace.raw());
  square_kernel<<<blocks, kThreads, 0, stream>>>(elements<float>(x), x.numel(), partial);
  check_launch("add_squared_norm");
  add_partial_kernel<<<1, kThreads, 0, stream>>>(partial, blocks, elements<double>(slot));
  check_launch("add_squared_norm (sum)");
}

void adamw(cudaStream_t stream, const AdamWArgs& a) {
  if (a.weights.numel() == 0) return;
  const double correction1 = 1.0 - std::pow(a.beta1, static_cast<double>(a.step + 1));
  const double correction2 = 1.0 - std::pow(a.beta2, static_cast<double>(a.step + 1));
  const AdamWKernelArgs args{.weights = elements<float>(a.weights),
                             .gradients = elements<float>(a.gradients),
                             .first_moment = elements<float>(a.first_moment),
                             .second_moment = elements<float>(a.second_moment),
                             .count = a.weights.numel(),
                             .norm_squared = elements<double>(a.norm_squared),
                             .not_finite = elements<double>(a.not_finite),
                             .flags = a.not_finite.numel(),
                             .max_grad_norm = a.max_grad_norm,
                             .beta1 = static_cast<float>(a.beta1),
                             .beta2 = static_cast<float>(a.beta2),
                             .rest1 = static_cast<float>(1.0 - a.beta1),
                             .rest2 = static_cast<float>(1.0 - a.beta2),
                             .step_size = static_cast<float>(a.learning_rate / correction1),
                             .root_correction = static_cast<float>(1.0 / std::sqrt(correction2)),
                             .eps = static_cast<float>(a.eps),
                             .decay = static_cast<float>(1.0 - a.learning_rate * a.weight_decay)};
  constexpr int64_t kBlocks = 1024;
  adamw_kernel<<<std::min(kBlocks, ceil_div(args.count, kThreads)), kThreads, 0, stream>>>(args);
  check_launch("adamw");
}

}  // namespace seer::cuda
