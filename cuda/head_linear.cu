// The gate's multi-head linear: one matrix per head (SEMANTICS 2 and 8), with the gradient of its weights. The
// inputs are pooled frozen activations, so they need no gradient. Both are one fp32 product for each head; the
// gradient sums over all rows for few outputs, so four groups of threads share a tile there.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/tile_product.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

/// out[h] = a[h * a_heads / heads] b[h], heads lying `*_head` elements apart. a and b are those of head 0.
template <typename T, Axis kAxis>
struct HeadProducts {
  Operand<T, kAxis> a;
  Operand<float, Axis::kRows> b;
  float* out;
  int64_t out_stride;
  int64_t a_head, b_head, out_head;
  int a_heads, heads;
};

/// Block (row tile, column tile, head).
template <int kGroups, LinearOutput kMode, typename T, Axis kAxis>
__global__ void __launch_bounds__(kGroups* kTileThreads) head_product_kernel(HeadProducts<T, kAxis> p) {
  const int64_t h = blockIdx.z;
  const int64_t i0 = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t j0 = static_cast<int64_t>(blockIdx.y) * kTile;
  p.a.data += h * p.a_heads / p.heads * p.a_head;
  p.b.data += h * p.b_head;
  TileProduct<kGroups> product;
  product.add(p.a, i0, p.b, j0);
  float* out = p.out + h * p.out_head;
  product.for_each([&](int r, int c, float value) {
    if (i0 + r >= p.a.rows || j0 + c >= p.b.rows) return;
    float& to = out[(i0 + r) * p.out_stride + j0 + c];
    to = kMode == LinearOutput::kAdd ? to + value : value;
  });
}

template <int kGroups, LinearOutput kMode, typename T, Axis kAxis>
void launch(cudaStream_t stream, const HeadProducts<T, kAxis>& p) {
  const dim3 grid(ceil_div(p.a.rows, kTile), ceil_div(p.b.rows, kTile), p.heads);
  head_product_kernel<kGroups, kMode><<<grid, kGroups * kTileThreads, 0, stream>>>(p);
}

}  // namespace

void head_linear(cudaStream_t stream, ConstTensor x, ConstTensor w, Tensor out) {
  if (out.numel() == 0) return;
  const int64_t in = w.dim(1);
  const int64_t width = w.dim(2);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    launch<1, LinearOutput::kStore>(
        stream, HeadProducts<T, Axis::kDepth>{.a = {elements<T>(x), x.row_stride(), x.rows(), in},
                                              .b = {elements<float>(w), width, width, in},
                                              .out = elements<float>(out),
                                              .out_stride = out.row_stride(),
                                              .a_head = in,
                                              .b_head = in * width,
                                              .out_head = width,
                                              .a_heads = static_cast<int>(x.dim(1)),
                                              .heads = static_cast<int>(w.dim(0))});
  });
  check_launch("head_linear");
}

/// dw[h] += x^T dy.
void head_linear_backward(cudaStream_t stream, ConstTensor x, ConstTensor out_gradient, Tensor w_gradient) {
  if (w_gradient.numel() == 0 || x.rows() == 0) return;
  const int64_t in = w_gradient.dim(1);
  const int64_t width = w_gradient.dim(2);
  constexpr int kGroups = 4;
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    launch<kGroups, LinearOutput::kAdd>(
        stream, HeadProducts<T, Axis::kRows>{
                    .a = {elements<T>(x), x.row_stride(), in, x.rows()},
                    .b = {elements<float>(out_gradient), out_gradient.row_stride(), width, x.rows()},
                    .out = elements<float>(w_gradient),
                    .out_stride = width,
                    .a_head = in,
                    .b_head = width,
                    .out_head = in * width,
                    .a_heads = static_cast<int>(x.dim(1)),
                    .heads = static_cast<int>(w_gradient.dim(0))});
  });
  check_launch("head_linear_backward");
}

}  // namespace seer::cuda
