// RMSNorm over the last axis: y = x / sqrt(mean(x^2) + eps) * weight (SEMANTICS 1), with the backward decode
// gates need.
#include <cmath>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;
constexpr int64_t kColumnsPerTile = 16;

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
    const int64_t heads = x.row_size() / channels;
    const int64_t vectors = x.rows() * heads;
    const ConstArray<T> w(weight.data<T>(), channels);
    const auto vector = [&](ConstTensor tensor, int64_t v) {
      return ConstArray<T>(tensor.data<T>() + v / heads * tensor.row_stride() + v % heads * channels,
                           channels);
    };
    const auto inverse_rms = [&](const ConstArray<T>& from) {
      return T(1) / std::sqrt(from.square().sum() / static_cast<T>(channels) + static_cast<T>(eps));
    };
    // Column tiles own their part of w_gradient and walk all rows in order.
    const int64_t column_tiles = ceil_div(channels, kColumnsPerTile);
    pool.run(column_tiles, [&](int64_t tile, int) {
      const int64_t begin = tile * kColumnsPerTile;
      const int64_t end = std::min(channels, begin + kColumnsPerTile);
      for (int64_t v = 0; v < vectors; ++v) {
        const ConstArray<T> from = vector(x, v);
        const ConstArray<T> dy = vector(out_gradient, v);
        const T inverse = inverse_rms(from);
        for (int64_t c = begin; c < end; ++c) w_gradient.data<T>()[c] += dy[c] * from[c] * inverse;
      }
    });
    // With u = w * dy and i = 1/rms: dx = i * u - x * i^3 * mean(u * x).
    pool.run(ceil_div(vectors, kRowsPerTile), [&](int64_t tile, int) {
      const int64_t end = std::min(vectors, (tile + 1) * kRowsPerTile);
      for (int64_t v = tile * kRowsPerTile; v < end; ++v) {
        const ConstArray<T> from = vector(x, v);
        const ConstArray<T> dy = vector(out_gradient, v);
        const T inverse = inverse_rms(from);
        const T dot = (w * dy * from).sum() / static_cast<T>(channels);
        Array<T>(x_gradient.data<T>() + v / heads * x_gradient.row_stride() + v % heads * channels,
                 channels) = inverse * w * dy - from * (inverse * inverse * inverse * dot);
      }
    });
  });
}

}  // namespace seer::cpu
