// T from the log block maxima (SEMANTICS 3): maxima of neighbouring blocks, exp, rows divided by their sums.
#include <cmath>
#include <limits>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {

void normalise_target(ThreadPool& pool, ConstTensor block_log_max, const ScoreLayout& fine,
                      const ScoreLayout& coarse, int64_t heads, Tensor target) {
  const int64_t ratio = coarse.block_size / fine.block_size;
  for (size_t n = 0; n < coarse.segments.host.size(); ++n) {
    const ScoreSegment& from = fine.segments.host[n];
    const ScoreSegment& to = coarse.segments.host[n];
    pool.run(heads * to.queries.rows, [&](int64_t task, int) {
      const int64_t head = task / to.queries.rows;
      const int64_t i = task % to.queries.rows;
      const int64_t visible = coarse.visible(to.queries.position + i);
      const int64_t fine_rows = std::min(ratio, from.queries.rows - i * ratio);
      const float* maxima = block_log_max.data<float>() + from.matrix * heads +
                            (head * from.queries.rows + i * ratio) * from.blocks;
      float* row = target.data<float>() + to.matrix * heads + task * to.blocks;
      double sum = 0;
      for (int64_t j = 0; j < visible; ++j) {
        const int64_t fine_columns = std::min(ratio, from.blocks - j * ratio);
        float maximum = -std::numeric_limits<float>::infinity();
        for (int64_t r = 0; r < fine_rows; ++r) {
          for (int64_t c = 0; c < fine_columns; ++c) {
            const float value = maxima[r * from.blocks + j * ratio + c];
            if (value > maximum || std::isnan(value)) maximum = value;  // a NaN stays: nothing is larger
          }
        }
        row[j] = std::exp(maximum);
        sum += row[j];
      }
      Eigen::Map<Eigen::ArrayXf>(row, visible) *= static_cast<float>(1.0 / sum);
      std::fill(row + visible, row + to.blocks, 0.0F);
    });
  }
}

}  // namespace seer::cpu
