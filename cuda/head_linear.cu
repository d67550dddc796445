// The gate's multi-head linear: one matrix per head (SEMANTICS 2 and 8), with the gradient of its weights. The
// inputs are pooled frozen activations, so they need no gradient.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/tile_product.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

/// x [rows, x_heads, in], w [heads, in, width], out [rows, heads, width]; rows may be strided.
struct HeadShape {
  int64_t rows, x_stride, out_stride;
  int64_t in, width;
  int x_heads, heads;
};

/// Block (row tile, column tile, head).
template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    head_linear_kernel(const T* x, const float* w, float* out, HeadShape s) {
  const int64_t h = blockIdx.z;
  const int64_t i0 = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t j0 = static_cast<int64_t>(blockIdx.y) * kTile;
  TileProduct product;
  product.add(Operand<T>{x + h * s.x_heads / s.heads * s.in, s.x_stride, 1, s.rows, s.in}, i0,
              Operand<float>{w + h * s.in * s.width, 1, s.width, s.width, s.in}, j0);
  product.for_each([&](int r, int c, float value) {
    if (i0 + r < s.rows && j0 + c < s.width) out[(i0 + r) * s.out_stride + h * s.width + j0 + c] = value;
  });
}

/// Block (channel tile, column tile, head): dw[h] += x^T dy.
template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    head_linear_backward_kernel(const T* x, const float* out_gradient, float* w_gradient, HeadShape s) {
  const int64_t h = blockIdx.z;
  const int64_t i0 = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t j0 = static_cast<int64_t>(blockIdx.y) * kTile;
  TileProduct product;
  product.add(Operand<T>{x + h * s.x_heads / s.heads * s.in, 1, s.x_stride, s.in, s.rows}, i0,
              Operand<float>{out_gradient + h * s.width, 1, s.out_stride, s.width, s.rows}, j0);
  product.for_each([&](int r, int c, float value) {
    if (i0 + r < s.in && j0 + c < s.width) w_gradient[(h * s.in + i0 + r) * s.width + j0 + c] += value;
  });
}

HeadShape shape_of(ConstTensor x, ConstTensor w, ConstTensor out) {
  return {.rows = x.rows(),
          .x_stride = x.row_stride(),
          .out_stride = out.row_stride(),
          .in = w.dim(1),
          .width = w.dim(2),
          .x_heads = static_cast<int>(x.dim(1)),
          .heads = static_cast<int>(w.dim(0))};
}

}  // namespace

void head_linear(cudaStream_t stream, ConstTensor x, ConstTensor w, Tensor out) {
  if (out.numel() == 0) return;
  const HeadShape s = shape_of(x, w, out);
  const dim3 grid(ceil_div(s.rows, kTile), ceil_div(s.width, kTile), s.heads);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    head_linear_kernel<<<grid, kTileThreads, 0, stream>>>(elements<T>(x), elements<float>(w),
                                                          elements<float>(out), s);
  });
  check_launch("head_linear");
}

void head_linear_backward(cudaStream_t stream, ConstTensor x, ConstTensor out_gradient, Tensor w_gradient) {
  if (w_gradient.numel() == 0 || x.rows() == 0) return;
  const HeadShape s = shape_of(x, w_gradient, out_gradient);
  const dim3 grid(ceil_div(s.in, kTile), ceil_div(s.width, kTile), s.heads);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    head_linear_backward_kernel<<<grid, kTileThreads, 0, stream>>>(
        elements<T>(x), elements<float>(out_gradient), elements<float>(w_gradient), s);
  });
  check_launch("head_linear_backward");
}

}  // namespace seer::cuda
