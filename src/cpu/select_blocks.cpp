// Which key blocks every row keeps (SEMANTICS 7): forced ones first, then by score, as an ascending list.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"
#include "src/ops/score_order.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 16;

/// What one worker needs for a row.
struct RowScratch {
  int32_t* order;
  double* weight;
};

bool better(const float* score, int32_t a, int32_t b) {
  const uint32_t key_a = ordered_bits(std::bit_cast<uint32_t>(score[a]));
  const uint32_t key_b = ordered_bits(std::bit_cast<uint32_t>(score[b]));
  return key_a != key_b ? key_a > key_b : a < b;
}

/// One row that sees blocks 0 .. seen-1.
class RowSelection {
 public:
  RowSelection(const SelectArgs& args, const float* score, int64_t seen, const RowScratch& scratch)
      : args_(args), score_(score), seen_(seen), order_(scratch.order), weight_(scratch.weight) {
    for (int64_t j = 0; j < seen_; ++j) {
      if (!is_forced(j)) order_[rest_++] = static_cast<int32_t>(j);
    }
  }

  /// Writes the list, returns its length.
  int32_t run(double value, int64_t blocks, int32_t* list) {
    const int64_t least = std::max<int64_t>(args_.rule.min_blocks - forced(), 0);
    const int64_t chosen = std::min(std::max(wanted(value, blocks), least), rest_);
    if (chosen < rest_) {
      std::nth_element(order_, order_ + chosen, order_ + rest_,
                       [this](int32_t a, int32_t b) { return better(score_, a, b); });
    }
    std::sort(order_, order_ + chosen);
    int32_t count = 0;
    const int32_t* next = order_;
    for (int64_t j = 0; j < seen_; ++j) {
      const bool by_score = next < order_ + chosen && *next == j;
      if (by_score) ++next;
      if (by_score || is_forced(j)) list[count++] = static_cast<int32_t>(j);
    }
    return count;
  }

 private:
  bool is_forced(int64_t j) const {
    return j < args_.rule.sink_blocks || j >= seen_ - args_.rule.local_blocks ||
           (args_.rule.always_diagonal && j == seen_ - 1);
  }
  int64_t forced() const { return seen_ - rest_; }

  /// So many of the blocks that are not forced.
  int64_t wanted(double value, int64_t blocks) {
    switch (args_.rule.by) {
      case SelectBy::kNzRatio:
      case SelectBy::kTokenBudget:
        return std::max<int64_t>(
            blocks_a_row(args_.rule.by, value, blocks, args_.layout->block_size) - forced(), 0);
      case SelectBy::kThreshold:
        return above(static_cast<float>(value));
      case SelectBy::kTopP:
        break;
    }
    return until(value);
  }

  /// weight[j] in proportion to p[j]; returns their sum.
  double weigh() {
    float maximum = score_[0];
    for (int64_t j = 1; j < seen_; ++j) maximum = std::max(maximum, score_[j]);
    double sum = 0;
    for (int64_t j = 0; j < seen_; ++j) {
      weight_[j] = args_.probabilities ? score_[j] : std::exp(score_[j] - maximum);
      sum += weight_[j];
    }
    return sum;
  }

  int64_t above(float threshold) {
    const double scale = args_.probabilities ? 1.0 : 1.0 / weigh();
    return std::count_if(order_, order_ + rest_, [&](int32_t j) {
      return (args_.probabilities ? score_[j] : static_cast<float>(weight_[j] * scale)) > threshold;
    });
  }

  int64_t until(double share) {
    const double enough = share * weigh();
    double sum = 0;
    for (int64_t j = 0; j < seen_; ++j) sum += is_forced(j) ? weight_[j] : 0.0;
    std::sort(order_, order_ + rest_, [this](int32_t a, int32_t b) { return better(score_, a, b); });
    int64_t chosen = 0;
    while (chosen < rest_ && sum < enough) sum += weight_[order_[chosen++]];
    return chosen;
  }

  const SelectArgs& args_;
  const float* score_;
  int64_t seen_;
  int64_t rest_ = 0;  // blocks that are not forced, in order_
  int32_t* order_;
  double* weight_;
};

}  // namespace

size_t select_workspace(const ThreadPool& pool, const SelectArgs& args) {
  return pool.size() * args.layout->max_blocks * (sizeof(double) + sizeof(int32_t));
}

void select_blocks(ThreadPool& pool, const SelectArgs& a) {
  const ScoreLayout& layout = *a.layout;
  auto* weights = static_cast<double*>(a.workspace.raw());
  auto* orders = reinterpret_cast<int32_t*>(weights + pool.size() * layout.max_blocks);
  for (const ScoreSegment& segment : layout.segments.host) {
    const int64_t rows = segment.queries.rows;
    const int64_t row_tiles = ceil_div(rows, kRowsPerTile);
    pool.run(a.head_count * row_tiles, [&](int64_t task, int worker) {
      const RowScratch scratch{orders + worker * layout.max_blocks, weights + worker * layout.max_blocks};
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
  if (a.kept.empty()) return;
  for (int64_t head = 0; head < a.head_count; ++head) {
    const int32_t* counts = a.lists.counts.data<int32_t>() + head * layout.num_query_rows;
    a.kept.data<double>()[head] +=
        static_cast<double>(std::accumulate(counts, counts + layout.num_query_rows, int64_t{0}));
  }
}

}  // namespace seer::cpu
