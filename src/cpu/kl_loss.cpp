// The distillation loss of SEMANTICS 4 and 8 with its gradient: for every row, a log-softmax over the blocks
// it sees, then
//   loss += weight * sum_j T (ln T - ln p),   d loss / d s = weight * (p * sum_j T - T),
// weight = 1 / (number of elements, or rows, of the whole sequence over all heads) / (number of sequences).
#include <cmath>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;

/// One row: returns its loss and replaces scores by `factor` times their gradient if that is wanted.
template <typename T>
double kl_row(T* scores, const T* target, int64_t seen, int64_t blocks, bool counted, bool want_gradient,
              double factor) {
  using Array = Eigen::Array<T, Eigen::Dynamic, 1>;
  double loss = 0;
  if (counted && seen > 0) {
    Eigen::Map<Array> s(scores, seen);
    const double maximum = s.maxCoeff();
    double sum = 0;
    for (int64_t j = 0; j < seen; ++j) sum += std::exp(static_cast<double>(scores[j]) - maximum);
    const double log_sum = maximum + std::log(sum);
    double mass = 0;
    for (int64_t j = 0; j < seen; ++j) {
      const double t = target[j];
      mass += t;
      // A NaN score must reach the loss even where T is 0, so only the logarithm of T is left out there.
      loss += t * ((t > 0 ? std::log(t) : 0.0) - (static_cast<double>(scores[j]) - log_sum));
    }
    if (want_gradient) {
      for (int64_t j = 0; j < seen; ++j) {
        const double p = std::exp(static_cast<double>(scores[j]) - log_sum);
        scores[j] = static_cast<T>(factor * (p * mass - static_cast<double>(target[j])));
      }
    }
  }
  if (want_gradient) {
    const int64_t kept = counted ? seen : 0;
    std::fill(scores + kept, scores + blocks, T(0));
  }
  return loss;
}

}  // namespace

size_t kl_workspace(const KlArgs& args) {
  // One partial sum for each tile of one segment; the planner's layouts have totals but no segments.
  return args.head_count * (args.layout->num_query_rows / kRowsPerTile + 1) * sizeof(double);
}

void kl_loss(ThreadPool& pool, const KlArgs& a) {
  const ScoreLayout& layout = *a.layout;
  auto* partial = static_cast<double*>(a.workspace.raw());
  auto* losses = a.losses.data<double>();
  dispatch(a.scores.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for (const ScoreSegment& segment : layout.segments.host) {
      const double count =
          static_cast<double>(a.heads) * static_cast<double>(segment.loss_rows) *
          (a.reduction == LossReduction::kElements ? static_cast<double>(segment.loss_columns) : 1.0);
      const double weight = 1.0 / (count * static_cast<double>(layout.sequences));
      const int64_t row_tiles = ceil_div(segment.queries.rows, kRowsPerTile);
      pool.run(a.head_count * row_tiles, [&](int64_t task, int) {
        const int64_t head = task / row_tiles;
        const int64_t begin = task % row_tiles * kRowsPerTile;
        const int64_t end = std::min(segment.queries.rows, begin + kRowsPerTile);
        double loss = 0;
        for (int64_t i = begin; i < end; ++i) {
          const int64_t position = segment.queries.position + i;
          const int64_t offset =
              segment.matrix * a.head_count + (head * segment.queries.rows + i) * segment.blocks;
          loss += kl_row(a.scores.data<T>() + offset, a.target.data<T>() + offset, layout.visible(position),
                         segment.blocks, position >= segment.first_loss_row, a.want_gradient,
                         weight * a.gradient_factor);
        }
        partial[task] = weight * loss;
      });
      for (int64_t task = 0; task < a.head_count * row_tiles; ++task) {
        losses[task / row_tiles] += a.loss_factor * partial[task];
      }
    }
  });
}

}  // namespace seer::cpu
