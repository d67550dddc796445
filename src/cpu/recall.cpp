// Recall of the top-k blocks of every counted row, beside that of the best possible choice (SEMANTICS 7 and
// 9).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 16;

/// Share of the row's target mass on the diagonal block and the k - 1 others with the highest `key`; ties go
/// to the lower index.
double kept_share(const float* key, const float* target, int64_t seen, int64_t k, int32_t* order) {
  const int64_t diagonal = seen - 1;
  const double mass = std::accumulate(target, target + seen, 0.0);
  if (k >= seen) return 1.0;
  for (int64_t j = 0; j < diagonal; ++j) order[j] = static_cast<int32_t>(j);
  std::nth_element(order, order + k - 1, order + diagonal,
                   [&](int32_t a, int32_t b) { return key[a] != key[b] ? key[a] > key[b] : a < b; });
  double kept = target[diagonal];
  for (int64_t n = 0; n < k - 1; ++n) kept += target[order[n]];
  return kept / mass;
}

}  // namespace

size_t recall_workspace(const ThreadPool& pool, const RecallArgs& args) {
  const int64_t tiles =
      args.head_count * (args.layout->num_query_rows / kRowsPerTile + args.layout->sequences +
                         static_cast<int64_t>(args.layout->segments.host.size()) + 1);
  return tiles * 2 * sizeof(double) + pool.size() * args.layout->max_blocks * sizeof(int32_t);
}

void topk_recall(ThreadPool& pool, const RecallArgs& a) {
  const ScoreLayout& layout = *a.layout;
  const int64_t tiles = a.head_count * (layout.num_query_rows / kRowsPerTile + 1);
  auto* partial = static_cast<double*>(a.workspace.raw());
  auto* orders = reinterpret_cast<int32_t*>(partial + 2 * tiles);
  for (const ScoreSegment& segment : layout.segments.host) {
    const auto k = std::max<int64_t>(
        1, static_cast<int64_t>((1.0 - std::sqrt(1.0 - a.nz_ratio)) * static_cast<double>(segment.blocks)));
    const double weight = 1.0 / (static_cast<double>(a.heads) * static_cast<double>(segment.loss_rows) *
                                 static_cast<double>(layout.sequences));
    const int64_t row_tiles = ceil_div(segment.queries.rows, kRowsPerTile);
    pool.run(a.head_count * row_tiles, [&](int64_t task, int worker) {
      int32_t* order = orders + worker * layout.max_blocks;
      const int64_t head = task / row_tiles;
      const int64_t begin = task % row_tiles * kRowsPerTile;
      double recall = 0;
      double oracle = 0;
      for (int64_t i = begin; i < std::min(segment.queries.rows, begin + kRowsPerTile); ++i) {
        const int64_t position = segment.queries.position + i;
        if (position < segment.first_loss_row) continue;
        const int64_t offset =
            segment.matrix * a.head_count + (head * segment.queries.rows + i) * segment.blocks;
        const float* target = a.target.data<float>() + offset;
        const int64_t seen = layout.visible(position);
        recall += kept_share(a.scores.data<float>() + offset, target, seen, k, order);
        oracle += kept_share(target, target, seen, k, order);
      }
      partial[2 * task] = weight * recall;
      partial[2 * task + 1] = weight * oracle;
    });
    for (int64_t task = 0; task < a.head_count * row_tiles; ++task) {
      a.recall.data<double>()[task / row_tiles] += a.factor * partial[2 * task];
      a.oracle.data<double>()[task / row_tiles] += a.factor * partial[2 * task + 1];
    }
  }
}

}  // namespace seer::cpu
