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

/// Share of the row's target mass on k of its `seen` blocks: those with the highest `key`, ties to the lower
/// index; with `keep_diagonal` the last one seen is among them.
double kept_share(const float* key, const float* target, int64_t seen, int64_t k, bool keep_diagonal,
                  int32_t* order) {
  if (k >= seen) return 1.0;
  const double mass = std::accumulate(target, target + seen, 0.0);
  const int64_t candidates = keep_diagonal ? seen - 1 : seen;
  const int64_t chosen = keep_diagonal ? k - 1 : k;
  std::iota(order, order + candidates, 0);
  std::nth_element(order, order + chosen, order + candidates,
                   [&](int32_t a, int32_t b) { return key[a] != key[b] ? key[a] > key[b] : a < b; });
  double kept = keep_diagonal ? target[seen - 1] : 0.0;
  for (int64_t n = 0; n < chosen; ++n) kept += target[order[n]];
  return kept / mass;
}

/// Sums of one segment's tiles.
int64_t partial_sums(const RecallArgs& args) {
  return 2 * args.head_count * (args.layout->num_query_rows / kRowsPerTile + 1);
}

}  // namespace

size_t recall_workspace(const ThreadPool& pool, const RecallArgs& args) {
  return partial_sums(args) * sizeof(double) + pool.size() * args.layout->max_blocks * sizeof(int32_t);
}

void topk_recall(ThreadPool& pool, const RecallArgs& a) {
  const ScoreLayout& layout = *a.layout;
  auto* partial = static_cast<double*>(a.workspace.raw());
  auto* orders = reinterpret_cast<int32_t*>(partial + partial_sums(a));
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
        recall += kept_share(a.scores.data<float>() + offset, target, seen, k, /*keep_diagonal=*/true, order);
        oracle += kept_share(target, target, seen, k, /*keep_diagonal=*/false, order);
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
