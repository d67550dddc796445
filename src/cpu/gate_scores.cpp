// Scores of pooled (or plain) gate queries against pooled keys (SEMANTICS 2 and 8), forward with backward.
#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;

/// Rows of one head of queries, keys or their gradients, as a matrix [rows, d].
template <typename T, typename TensorType>
auto head_rows(const TensorType& x, int64_t row, int64_t rows, int64_t head) {
  return view(x.template data<T>() + row * x.row_stride() + head * x.dim(2), rows, x.dim(2), x.row_stride());
}

/// Runs body(segment, head in the range, first row, rows, matrix of that head) over tiles of score rows.
template <typename Body>
void for_row_tiles(ThreadPool& pool, const ScoreLayout& layout, int64_t heads, const Body& body) {
  for (const ScoreSegment& segment : layout.segments.host) {
    const int64_t tiles = ceil_div(segment.queries.rows, kRowsPerTile);
    pool.run(heads * tiles, [&](int64_t task, int) {
      const int64_t head = task / tiles;
      const int64_t row = task % tiles * kRowsPerTile;
      const int64_t rows = std::min(kRowsPerTile, segment.queries.rows - row);
      body(segment, head, row, rows,
           segment.matrix * heads + (head * segment.queries.rows + row) * segment.blocks);
    });
  }
}

}  // namespace

void gate_scores(ThreadPool& pool, const ScoreArgs& a, Tensor scores) {
  dispatch(a.queries.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_row_tiles(
        pool, *a.layout, a.head_count,
        [&](const ScoreSegment& segment, int64_t head, int64_t row, int64_t rows, int64_t offset) {
          const int64_t h = a.head_begin + head;
          const int64_t seen = a.layout->visible(segment.queries.position + row + rows - 1);
          if (seen == 0) return;
          view(scores.data<T>() + offset, rows, seen, segment.blocks).noalias() =
              static_cast<T>(a.scale) * head_rows<T>(a.queries, segment.queries.row + row, rows, h) *
              head_rows<T>(a.keys, segment.key_row, seen, h * a.keys.dim(1) / a.queries.dim(1)).transpose();
        });
  });
}

void gate_scores_backward(ThreadPool& pool, const ScoreArgs& a, ConstTensor score_gradient,
                          Tensor query_gradient, Tensor key_gradient) {
  dispatch(a.queries.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t group = a.queries.dim(1) / a.keys.dim(1);
    const T scale = static_cast<T>(a.scale);
    for_row_tiles(pool, *a.layout, a.head_count,
                  [&](const ScoreSegment& segment, int64_t head, int64_t row, int64_t rows, int64_t offset) {
                    const int64_t h = a.head_begin + head;
                    head_rows<T>(query_gradient, segment.queries.row + row, rows, h).noalias() =
                        scale *
                        view(score_gradient.data<T>() + offset, rows, segment.blocks, segment.blocks) *
                        head_rows<T>(a.keys, segment.key_row, segment.blocks, h / group);
                  });
    // A key head belongs to one task, which walks the query heads and segments that see it in order.
    pool.run(a.head_count / group, [&](int64_t task, int) {
      for (const ScoreSegment& segment : a.layout->segments.host) {
        for (int64_t head = task * group; head < (task + 1) * group; ++head) {
          const int64_t offset = segment.matrix * a.head_count + head * segment.queries.rows * segment.blocks;
          const int64_t h = a.head_begin + head;
          head_rows<T>(key_gradient, segment.key_row, segment.blocks, h / group).noalias() +=
              scale *
              view(score_gradient.data<T>() + offset, segment.queries.rows, segment.blocks, segment.blocks)
                  .transpose() *
              head_rows<T>(a.queries, segment.queries.row, segment.queries.rows, h);
        }
      }
    });
  });
}

}  // namespace seer::cpu
