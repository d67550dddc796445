// Which key blocks every row keeps (SEMANTICS 7): forced ones first, then by score, as an ascending list. Rows are never
// sorted: the worst block that is kept is found by partitioning, and everything that ranks no lower is kept.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"
#include "src/ops/score_order.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 16;

/// The order in which blocks are kept as an order of integers, no two of them equal: higher scores, then lower indices,
/// have the larger rank.
uint64_t rank_of(float score, int64_t block) {
  return uint64_t{ordered_bits(std::bit_cast<uint32_t>(score))} << 32U | ~static_cast<uint32_t>(block);
}
int64_t block_of(uint64_t rank) {
  return static_cast<uint32_t>(~rank);
}

/// What one worker needs for a row.
struct RowScratch {
  uint64_t* ranks;
  float* weights;
};

/// One row that sees blocks 0 .. seen-1. Those before `begin_` and from `end_` on are forced.
class RowSelection {
 public:
  RowSelection(const SelectArgs& args, const float* scores, int64_t seen, const RowScratch& scratch)
      : args_(args),
        scores_(scores),
        seen_(seen),
        begin_(std::min(args.rule.sink_blocks, seen)),
        end_(std::max(begin_,
                      seen - std::max<int64_t>(args.rule.local_blocks, args.rule.always_diagonal ? 1 : 0))),
        ranks_(scratch.ranks),
        weights_(scratch.weights) {
    for (int64_t j = begin_; j < end_; ++j) ranks_[j - begin_] = rank_of(scores_[j], j);
  }

  /// Writes the list, returns its length.
  int32_t run(double value, int64_t blocks, int32_t* list) {
    const int64_t least = args_.rule.min_blocks - forced();
    const int64_t chosen = std::clamp<int64_t>(std::max(wanted(value, blocks), least), 0, rest());
    int32_t* next = list;
    for (int64_t j = 0; j < begin_; ++j) *next++ = static_cast<int32_t>(j);
    if (chosen > 0) {
      const uint64_t worst = partition(0, chosen - 1, rest());
      for (int64_t j = begin_; j < end_; ++j) {
        if (rank_of(scores_[j], j) >= worst) *next++ = static_cast<int32_t>(j);
      }
    }
    for (int64_t j = end_; j < seen_; ++j) *next++ = static_cast<int32_t>(j);
    return static_cast<int32_t>(next - list);
  }

 private:
  using Row = Eigen::Map<const Eigen::ArrayXf>;

  int64_t rest() const { return end_ - begin_; }
  int64_t forced() const { return seen_ - rest(); }

  /// The rank that a sorted [first, last) would hold at `middle`; larger ones come to lie before it.
  uint64_t partition(int64_t first, int64_t middle, int64_t last) {
    std::nth_element(ranks_ + first, ranks_ + middle, ranks_ + last, std::greater<>());
    return ranks_[middle];
  }

  /// So many of the blocks that are not forced; what is below 0 or above rest() is cut off by the caller.
  int64_t wanted(double value, int64_t blocks) {
    switch (args_.rule.by) {
      case SelectBy::kNzRatio:
      case SelectBy::kTokenBudget:
        return blocks_a_row(args_.rule.by, value, blocks, args_.layout->block_size) - forced();
      case SelectBy::kThreshold:
        return above(static_cast<float>(value));
      case SelectBy::kTopP:
        return value >= 1 ? rest() : until(value);
    }
    fail("no rule {}", static_cast<int>(args_.rule.by));
  }

  /// Makes weights_ proportional to p, returns their sum.
  double weigh() {
    Eigen::Map<Eigen::ArrayXf> weights(weights_, seen_);
    const Row scores(scores_, seen_);
    if (args_.probabilities) {
      weights = scores;
    } else {
      weights = (scores - scores.maxCoeff()).exp();
    }
    return weights.cast<double>().sum();
  }

  int64_t above(float threshold) {
    const double sum = weigh();
    const double scale = args_.probabilities ? 1.0 : 1.0 / sum;
    return std::count_if(weights_ + begin_, weights_ + end_,
                         [=](float weight) { return static_cast<float>(weight * scale) > threshold; });
  }

  /// The fewest that hold, with the forced ones, `share` of the row's mass: by halves, summing the better one.
  int64_t until(double share) {
    const double enough = share * weigh();
    double sum = std::accumulate(weights_, weights_ + begin_, 0.0);
    sum = std::accumulate(weights_ + end_, weights_ + seen_, sum);
    if (sum >= enough) return 0;
    int64_t first = 0;  // `sum` holds those before it, and is not enough
    int64_t last = rest();
    while (last - first > 1) {
      const int64_t middle = first + (last - first) / 2;
      partition(first, middle, last);
      const double with_better =
          std::accumulate(ranks_ + first, ranks_ + middle, sum,
                          [this](double total, uint64_t rank) { return total + weights_[block_of(rank)]; });
      if (with_better >= enough) {
        last = middle;
      } else {
        first = middle;
        sum = with_better;
      }
    }
    return last;
  }

  const SelectArgs& args_;
  const float* scores_;
  int64_t seen_;
  int64_t begin_;
  int64_t end_;
  uint64_t* ranks_;  // of blocks begin_ .. end_-1
  float* weights_;
};

void sum_counts(const SelectArgs& a) {
  const int64_t rows = a.layout->num_query_rows;
  for (int64_t head = 0; head < a.head_count; ++head) {
    const int32_t* counts = a.lists.counts.data<int32_t>() + head * rows;
    a.kept.data<double>()[head] += static_cast<double>(std::accumulate(counts, counts + rows, int64_t{0}));
  }
}

}  // namespace

size_t select_workspace(const ThreadPool& pool, const SelectArgs& args) {
  return pool.size() * scratch_stride(args.layout->max_blocks) * (sizeof(uint64_t) + sizeof(float));
}

void select_blocks(ThreadPool& pool, const SelectArgs& a) {
  const ScoreLayout& layout = *a.layout;
  const int64_t stride = scratch_stride(layout.max_blocks);
  auto* ranks = static_cast<uint64_t*>(a.workspace.raw());
  auto* weights = reinterpret_cast<float*>(ranks + pool.size() * stride);
  for (const ScoreSegment& segment : layout.segments.host) {
    const int64_t rows = segment.queries.rows;
    const int64_t row_tiles = ceil_div(rows, kRowsPerTile);
    pool.run(a.head_count * row_tiles, [&](int64_t task, int worker) {
      const RowScratch scratch{ranks + worker * stride, weights + worker * stride};
      const int64_t head = task / row_tiles;
      const double value = a.values.empty() ? a.rule.value : a.values.data<float>()[head];
      const int64_t begin = task % row_tiles * kRowsPerTile;
      for (int64_t i = begin; i < std::min(rows, begin + kRowsPerTile); ++i) {
        const int64_t position = segment.queries.position + i;
        const int64_t seen = layout.visible(position);
        const int64_t offset = segment.matrix * a.head_count + (head * rows + i) * segment.blocks;
        int32_t* list = a.lists.blocks.data<int32_t>() + offset;
        int32_t& count =
            a.lists.counts.data<int32_t>()[head * layout.num_query_rows + segment.queries.row + i];
        if (position >= segment.blocks - a.rule.dense_last_rows) {
          std::iota(list, list + seen, 0);
          count = static_cast<int32_t>(seen);
        } else {
          count = RowSelection(a, a.scores.data<float>() + offset, seen, scratch)
                      .run(value, segment.blocks, list);
        }
      }
    });
  }
  if (!a.kept.empty()) sum_counts(a);
}

}  // namespace seer::cpu
