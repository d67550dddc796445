// RoPE (rotate-half, SEMANTICS 1): (a, b) -> (a cos - b sin, b cos + a sin) for a = x_j, b = x_{j+D/2}.
#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;

}  // namespace

void rope(ThreadPool& pool, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
          RopeDirection direction, Tensor out) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t heads = x.dim(1);
    const int64_t half = x.dim(2) / 2;
    const T sign = direction == RopeDirection::kForward ? T(1) : T(-1);
    for (const RowSpan& span : rows.host) {
      pool.run(ceil_div(span.rows, kRowsPerTile), [&](int64_t tile, int) {
        const int64_t end = std::min(span.rows, (tile + 1) * kRowsPerTile);
        for (int64_t i = tile * kRowsPerTile; i < end; ++i) {
          const int64_t position = span.position + i;
          const float* cos = table.cos.data<float>() + position * half;
          const float* sin = table.sin.data<float>() + position * half;
          for (int64_t h = 0; h < heads; ++h) {
            const T* from = x.data<T>() + (span.row + i) * x.row_stride() + h * 2 * half;
            T* to = out.data<T>() + (span.row + i) * out.row_stride() + h * 2 * half;
            for (int64_t j = 0; j < half; ++j) {  // element by element: `to` may be `from`
              const T a = from[j];
              const T b = from[j + half];
              to[j] = a * cos[j] - sign * b * sin[j];
              to[j + half] = b * cos[j] + sign * a * sin[j];
            }
          }
        }
      });
    }
  });
}

}  // namespace seer::cpu
