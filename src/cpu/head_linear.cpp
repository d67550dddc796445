// The gate's multi-head linear: one matrix per head (SEMANTICS 2 and 8), with the gradient of its weights.
// The inputs are pooled frozen activations, so they need no gradient.
#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 128;
constexpr int64_t kChannelsPerTile = 128;

}  // namespace

void head_linear(ThreadPool& pool, ConstTensor x, ConstTensor w, Tensor out) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t heads = w.dim(0);
    const int64_t in = w.dim(1);
    const int64_t width = w.dim(2);
    const int64_t row_tiles = ceil_div(x.rows(), kRowsPerTile);
    pool.run(heads * row_tiles, [&](int64_t task, int) {
      const int64_t h = task / row_tiles;
      const int64_t row = task % row_tiles * kRowsPerTile;
      const int64_t rows = std::min(kRowsPerTile, x.rows() - row);
      const int64_t x_head = h * x.dim(1) / heads;
      view(out.data<T>() + row * out.row_stride() + h * width, rows, width, out.row_stride()).noalias() =
          view(x.data<T>() + row * x.row_stride() + x_head * in, rows, in, x.row_stride()) *
          view(w.data<T>() + h * in * width, in, width, width);
    });
  });
}

void head_linear_backward(ThreadPool& pool, ConstTensor x, ConstTensor out_gradient, Tensor w_gradient) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t heads = w_gradient.dim(0);
    const int64_t in = w_gradient.dim(1);
    const int64_t width = w_gradient.dim(2);
    const int64_t channel_tiles = ceil_div(in, kChannelsPerTile);
    pool.run(heads * channel_tiles, [&](int64_t task, int) {
      const int64_t h = task / channel_tiles;
      const int64_t channel = task % channel_tiles * kChannelsPerTile;
      const int64_t channels = std::min(kChannelsPerTile, in - channel);
      const int64_t x_head = h * x.dim(1) / heads;
      view(w_gradient.data<T>() + (h * in + channel) * width, channels, width, width).noalias() +=
          view(x.data<T>() + x_head * in + channel, x.rows(), channels, x.row_stride()).transpose() *
          view(out_gradient.data<T>() + h * width, x.rows(), width, out_gradient.row_stride());
    });
  });
}

}  // namespace seer::cpu
