// Pooling over blocks of tokens and over groups of heads (SEMANTICS 2 and 8). One pass over the rows.
#include <algorithm>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

/// Pools rows [first, first + count) of x into one row of out.
template <typename T>
void pool_rows(ConstTensor x, int64_t first, int64_t count, PoolSet pools, T* out) {
  const int64_t heads = x.dim(1);
  const int64_t head_dim = x.dim(2);
  for (int64_t h = 0; h < heads; ++h) {
    const T* from = x.data<T>() + first * x.row_stride() + h * head_dim;
    const auto reduce = [&](bool wanted, auto&& combine) {
      if (!wanted) return;
      std::copy_n(from, head_dim, out);
      for (int64_t r = 1; r < count; ++r) {
        const T* row = from + r * x.row_stride();
        for (int64_t c = 0; c < head_dim; ++c) out[c] = combine(out[c], row[c]);
      }
      out += head_dim;
    };
    // A NaN must come through; nothing is larger or smaller than one, so it stays.
    reduce(pools.max, [](T a, T b) { return b > a || b != b ? b : a; });
    reduce(pools.min, [](T a, T b) { return b < a || b != b ? b : a; });
    reduce(pools.avg, [](T a, T b) { return a + b; });
    if (pools.avg) std::for_each(out - head_dim, out, [&](T& sum) { sum /= static_cast<T>(count); });
  }
}

}  // namespace

void pool_blocks(ThreadPool& pool, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                 int64_t pieces, PoolSet pools, Tensor out) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    int64_t first_out = 0;
    for (const RowSpan& span : rows.host) {
      const int64_t size = block_size / pieces;
      const int64_t last = ceil_div(span.rows, size) - 1;
      const int64_t outputs = ceil_div(span.rows, block_size) * pieces;
      pool.run(outputs, [&](int64_t number, int) {
        const int64_t first = std::min(number, last) * size;
        pool_rows<T>(x, span.row + first, std::min(size, span.rows - first), pools,
                     out.data<T>() + (first_out + number) * out.row_stride());
      });
      first_out += outputs;
    }
  });
}

void group_mean(ThreadPool& pool, ConstTensor x, Tensor out) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t groups = out.dim(1);
    const int64_t group = x.dim(1) / groups;
    const int64_t channels = x.dim(2);
    pool.run(ceil_div(x.rows(), 64), [&](int64_t tile, int) {
      for (int64_t r = tile * 64; r < std::min(x.rows(), tile * 64 + 64); ++r) {
        for (int64_t g = 0; g < groups; ++g) {
          const T* from = x.data<T>() + r * x.row_stride() + g * group * channels;
          view(out.data<T>() + r * out.row_stride() + g * channels, 1, channels, channels) =
              view(from, group, channels, channels).colwise().mean();
        }
      }
    });
  });
}

}  // namespace seer::cpu
