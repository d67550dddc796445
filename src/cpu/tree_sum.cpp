// Sums of many arrays in the order of src/core/tree_order.h.
#include <array>

#include "src/core/tree_order.h"
#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {

void sum_parts(ThreadPool& pool, ConstTensor parts, Tensor out) {
  constexpr int64_t kTile = 256;  // elements: the partial sums of a tile stay in the first cache
  constexpr int kDepth = 32;      // of more parts than there are machines
  const int64_t count = parts.rows();
  const int64_t size = out.numel();
  const auto* from = parts.data<float>();
  auto* to = out.data<float>();
  pool.run(ceil_div(size, kTile), [&](int64_t tile, int) {
    const int64_t begin = tile * kTile;
    const int64_t length = std::min(size - begin, kTile);
    std::array<Eigen::Array<float, kTile, 1>, kDepth> waiting;
    int depth = 0;
    for (int64_t p = 0; p < count; ++p) {
      waiting[depth++].head(length) =
          Eigen::Map<const Eigen::ArrayXf>(from + p * parts.row_stride() + begin, length);
      for (int merges = tree_merges(p, count); merges > 0; --merges) {
        --depth;
        waiting[depth - 1].head(length) += waiting[depth].head(length);
      }
    }
    Eigen::Map<Eigen::ArrayXf>(to + begin, length) = waiting[0].head(length);
  });
}

}  // namespace seer::cpu
