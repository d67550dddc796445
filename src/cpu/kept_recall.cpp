// Share of the target's row mass on the blocks that a selection keeps (SEMANTICS 9).
#include <algorithm>
#include <numeric>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 16;

int64_t partial_sums(const KeptRecallArgs& args) {
  return args.head_count * (args.layout->num_query_rows / kRowsPerTile + 1);
}

}  // namespace

size_t kept_recall_workspace(const KeptRecallArgs& args) {
  return partial_sums(args) * sizeof(double);
}

void kept_recall(ThreadPool& pool, const KeptRecallArgs& a) {
  const ScoreLayout& layout = *a.layout;
  auto* partial = static_cast<double*>(a.workspace.raw());
  for (const ScoreSegment& segment : layout.segments.host) {
    const int64_t rows = segment.queries.rows;
    const double weight = 1.0 / (static_cast<double>(a.heads) * static_cast<double>(segment.loss_rows) *
                                 static_cast<double>(layout.sequences));
    const int64_t row_tiles = ceil_div(rows, kRowsPerTile);
    pool.run(a.head_count * row_tiles, [&](int64_t task, int) {
      const int64_t head = task / row_tiles;
      const int64_t begin = task % row_tiles * kRowsPerTile;
      double recall = 0;
      for (int64_t i = begin; i < std::min(rows, begin + kRowsPerTile); ++i) {
        const int64_t position = segment.queries.position + i;
        if (position < segment.first_loss_row) continue;
        const int64_t offset = segment.matrix * a.head_count + (head * rows + i) * segment.blocks;
        const float* target = a.target.data<float>() + offset;
        const int32_t* list = a.lists.blocks.data<int32_t>() + offset;
        const int32_t count =
            a.lists.counts.data<int32_t>()[head * layout.num_query_rows + segment.queries.row + i];
        double kept = 0;
        for (int32_t n = 0; n < count; ++n) kept += target[list[n]];
        recall += kept / std::accumulate(target, target + layout.visible(position), 0.0);
      }
      partial[task] = weight * recall;
    });
    for (int64_t task = 0; task < a.head_count * row_tiles; ++task) {
      a.recall.data<double>()[task / row_tiles] += a.factor * partial[task];
    }
  }
}

}  // namespace seer::cpu
