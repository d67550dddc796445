// RMSNorm over the last axis: y = x / sqrt(mean(x^2) + eps) * weight (SEMANTICS 1), with the backward decode
// gates need.
#include <cmath>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;

template <typename T>
using Array = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <typename T>
using ConstArray = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

}  // namespace

void rms_norm(ThreadPool& pool, ConstTensor x, ConstTensor weight, double eps, Tensor out) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t channels = weight.numel();
    const int64_t heads = x.row_size() / channels;
    const ConstArray<T> w(weight.data<T>(), channels);
    pool.run(ceil_div(x.rows(), kRowsPerTile), [&](int64_t tile, int) {
      const int64_t end = std::min(x.rows(), (tile + 1) * kRowsPerTile);
      for (int64_t r = tile * kRowsPerTile; r < end; ++r) {
        for (int64_t h = 0; h < heads; ++h) {
          const ConstArray<T> from(x.data<T>() + r * x.row_stride() + h * channels, channels);
          const T mean = from.square().sum() / static_cast<T>(channels);
          const T inverse = T(1) / std::sqrt(mean + static_cast<T>(eps));
          Array<T>(out.data<T>() + r * out.row_stride() + h * channels, channels) = from * inverse * w;
        }
      }
    });
  });
}

void rms_norm_backward(ThreadPool& pool, ConstTensor x, ConstTensor weight, double eps,
                       ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t channels = weight.numel();
    const int64_t vectors = x.numel() / channels;
    SEER_CHECK(x.contiguous() && out_gradient.contiguous() && x_gradient.contiguous(), "strided rows");
    const ConstArray<T> w(weight.data<T>(), channels);
    const ConstRowMap<T> xs = view(x.data<T>(), vectors, channels, channels);
    const ConstRowMap<T> dys = view(out_gradient.data<T>(), vectors, channels, channels);
    // Column tiles own their part of w_gradient and walk all rows in order.
    const int64_t column_tiles = ceil_div(channels, 16);
    pool.run(column_tiles, [&](int64_t tile, int) {
      const int64_t begin = tile * 16;
      const int64_t end = std::min(channels, begin + 16);
      for (int64_t r = 0; r < vectors; ++r) {
        const T inverse =
            T(1) / std::sqrt(xs.row(r).squaredNorm() / static_cast<T>(channels) + static_cast<T>(eps));
        for (int64_t c = begin; c < end; ++c) w_gradient.data<T>()[c] += dys(r, c) * xs(r, c) * inverse;
      }
    });
    // With u = w * dy and i = 1/rms: dx = i * u - x * i^3 * mean(u * x).
    pool.run(ceil_div(vectors, kRowsPerTile), [&](int64_t tile, int) {
      const int64_t end = std::min(vectors, (tile + 1) * kRowsPerTile);
      for (int64_t r = tile * kRowsPerTile; r < end; ++r) {
        const ConstArray<T> from(x.data<T>() + r * channels, channels);
        const ConstArray<T> dy(out_gradient.data<T>() + r * channels, channels);
        const T inverse =
            T(1) / std::sqrt(from.square().sum() / static_cast<T>(channels) + static_cast<T>(eps));
        const T dot = (w * dy * from).sum() / static_cast<T>(channels);
        Array<T>(x_gradient.data<T>() + r * channels, channels) =
            inverse * w * dy - from * (inverse * inverse * inverse * dot);
      }
    });
  });
}

}  // namespace seer::cpu
