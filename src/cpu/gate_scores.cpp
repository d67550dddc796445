// Scores of pooled (or plain) gate queries against pooled keys (SEMANTICS 2 and 8), of the best of a block's pieces and with
// a bias on distance where the gate has them; forward with backward.
#include <cmath>
#include <vector>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;

/// Rows of one head of queries, keys or their gradients, as a matrix [rows, d]: every `pieces`-th row from `piece` on.
template <typename T, typename TensorType>
auto head_rows(const TensorType& x, int64_t row, int64_t rows, int64_t head, int64_t pieces = 1,
               int64_t piece = 0) {
  return view(x.template data<T>() + (row * pieces + piece) * x.row_stride() + head * x.dim(2), rows,
              x.dim(2), pieces * x.row_stride());
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

/// Memory of a worker's own, kept from task to task: a step allocates nothing.
template <typename T>
T* scratch(int64_t elements) {
  static thread_local std::vector<T> memory;
  if (memory.size() < static_cast<size_t>(elements)) memory.resize(elements);
  return memory.data();
}

/// Adds a head's bias to rows of its matrix, the first of which lies at `position`.
template <typename T, typename Rows>
void add_distance_bias(const ScoreArgs& a, int64_t h, int64_t position, Rows rows) {
  const T* weights = a.distance_bias.data<T>() + h * kDistanceTerms;
  const int64_t distances = position + rows.rows();
  T* biases = scratch<T>(distances);
  for (int64_t distance = 0; distance < distances; ++distance) {
    biases[distance] = distance_curve(weights, distance);
  }
  const T first_block = T(kDistanceScale) * weights[kDistanceRamps];
  for (int64_t r = 0; r < rows.rows(); ++r) {
    rows(r, 0) += first_block;
    for (int64_t j = 0; j < std::min<int64_t>(position + r + 1, rows.cols()); ++j) {
      rows(r, j) += biases[position + r - j];
    }
  }
}

/// Rows of a matrix of gradients: the elements whose score came from `piece`, zeros elsewhere.
template <typename T>
ConstRowMap<T> of_piece(const ScoreArgs& a, ConstTensor gradient, int64_t offset, int64_t rows,
                        int64_t blocks, int64_t piece) {
  const T* all = gradient.data<T>() + offset;
  if (a.pieces == 1) return view(all, rows, blocks, blocks);
  const uint8_t* best = a.best_piece.data<uint8_t>() + offset;
  T* own = scratch<T>(rows * blocks);
  for (int64_t n = 0; n < rows * blocks; ++n) own[n] = best[n] == piece ? all[n] : T(0);
  return view(static_cast<const T*>(own), rows, blocks, blocks);
}

/// The gradients of one head's distance weights: sums over diagonals, then over the ramps.
template <typename T>
void add_distance_gradient(const ScoreArgs& a, ConstTensor score_gradient, int64_t head,
                           const ScoreGradients& gradients) {
  const int64_t most = a.layout->max_blocks;
  T* sums = gradients.distance_sums.data<T>() + head * (most + 1);  // by distance; last, the first block's
  std::fill_n(sums, most + 1, T(0));
  for (const ScoreSegment& segment : a.layout->segments.host) {
    const T* rows = score_gradient.data<T>() + segment.matrix * a.head_count +
                    head * segment.queries.rows * segment.blocks;
    for (int64_t i = 0; i < segment.queries.rows; ++i) {
      const int64_t position = segment.queries.position + i;
      for (int64_t j = 0; j <= position; ++j) sums[position - j] += rows[i * segment.blocks + j];
      sums[most] += rows[i * segment.blocks];
    }
  }
  T* out = gradients.distance.data<T>() + (a.head_begin + head) * kDistanceTerms;
  for (int k = 0; k < kDistanceRamps; ++k) {
    T sum = 0;
    for (int64_t distance = 1; distance < most; ++distance) {
      sum += distance_ramp<T>(k, distance) * sums[distance];
    }
    out[k] += T(kDistanceScale) * sum;
  }
  out[kDistanceRamps] += T(kDistanceScale) * sums[most];
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
          auto out = view(scores.data<T>() + offset, rows, seen, segment.blocks);
          const auto product = [&](int64_t piece) {
            return static_cast<T>(a.scale) * head_rows<T>(a.queries, segment.queries.row + row, rows, h) *
                   head_rows<T>(a.keys, segment.key_row, seen, h * a.keys.dim(1) / a.queries.dim(1), a.pieces,
                                piece)
                       .transpose();
          };
          out.noalias() = product(0);
          if (!a.best_piece.empty()) {
            view(a.best_piece.data<uint8_t>() + offset, rows, seen, segment.blocks).setZero();
          }
          for (int64_t piece = 1; piece < a.pieces; ++piece) {
            auto other = view(scratch<T>(rows * seen), rows, seen, seen);
            other.noalias() = product(piece);
            for (int64_t r = 0; r < rows; ++r) {
              for (int64_t j = 0; j < seen; ++j) {
                if (!(other(r, j) > out(r, j)) && !std::isnan(other(r, j)))
                  continue;  // a NaN must come through
                out(r, j) = other(r, j);
                if (!a.best_piece.empty()) {
                  a.best_piece.data<uint8_t>()[offset + r * segment.blocks + j] = static_cast<uint8_t>(piece);
                }
              }
            }
          }
          if (!a.distance_bias.empty()) add_distance_bias<T>(a, h, segment.queries.position + row, out);
        });
  });
}

void gate_scores_backward(ThreadPool& pool, const ScoreArgs& a, ConstTensor score_gradient,
                          const ScoreGradients& gradients) {
  dispatch(a.queries.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t group = a.queries.dim(1) / a.keys.dim(1);
    const T scale = static_cast<T>(a.scale);
    if (!gradients.query.empty()) {
      for_row_tiles(
          pool, *a.layout, a.head_count,
          [&](const ScoreSegment& segment, int64_t head, int64_t row, int64_t rows, int64_t offset) {
            const int64_t h = a.head_begin + head;
            auto out = head_rows<T>(gradients.query, segment.queries.row + row, rows, h);
            out.setZero();
            for (int64_t piece = 0; piece < a.pieces; ++piece) {
              out.noalias() +=
                  scale * of_piece<T>(a, score_gradient, offset, rows, segment.blocks, piece) *
                  head_rows<T>(a.keys, segment.key_row, segment.blocks, h / group, a.pieces, piece);
            }
          });
    }
    // A key head belongs to one task, which walks the query heads and segments that see it in order.
    pool.run(a.head_count / group, [&](int64_t task, int) {
      for (const ScoreSegment& segment : a.layout->segments.host) {
        for (int64_t head = task * group; head < (task + 1) * group; ++head) {
          const int64_t offset = segment.matrix * a.head_count + head * segment.queries.rows * segment.blocks;
          const int64_t h = a.head_begin + head;
          // A piece's gradient is a copy: of some rows at a time.
          const int64_t chunk = a.pieces == 1 ? segment.queries.rows : kRowsPerTile;
          for (int64_t row = 0; row < segment.queries.rows; row += chunk) {
            const int64_t rows = std::min(chunk, segment.queries.rows - row);
            for (int64_t piece = 0; piece < a.pieces; ++piece) {
              head_rows<T>(gradients.key, segment.key_row, segment.blocks, h / group, a.pieces, piece)
                  .noalias() +=
                  scale *
                  of_piece<T>(a, score_gradient, offset + row * segment.blocks, rows, segment.blocks, piece)
                      .transpose() *
                  head_rows<T>(a.queries, segment.queries.row + row, rows, h);
            }
          }
        }
      }
    });
    if (!gradients.distance.empty()) {
      pool.run(a.head_count,
               [&](int64_t head, int) { add_distance_gradient<T>(a, score_gradient, head, gradients); });
    }
  });
}

}  // namespace seer::cpu
