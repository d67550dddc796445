// Which key blocks every row keeps (SEMANTICS 7), as ascending lists. One thread block computes one row.
//
// Blocks that are kept whatever their score lie at the row's ends: the first ones and the nearest. What lies between
// are candidates, and every rule comes down to a cut through their order (radix_select.cuh): all above a key and some
// of its equals. A second pass over the candidates knows each one's place in the list.
#include <cmath>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/radix_select.cuh"
#include "cuda/score_row.cuh"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;

struct SelectKernelArgs {
  const float* scores;
  bool probabilities;
  const ScoreSegment* segments;
  int64_t head_count;
  int64_t query_rows;
  int64_t block_size;
  SelectionRule rule;
  const float* values;  ///< [head_count], or null: rule.value
  int32_t* counts;      ///< [head_count][query_rows]
  int32_t* blocks;
};

/// Weights of a row's blocks, in proportion to their p: p as given, or e^(score - largest score).
class Weights {
 public:
  __device__ Weights(const float* scores, int seen, bool given) : scores_(scores), given_(given) {
    if (!given) {
      for (int j = static_cast<int>(threadIdx.x); j < seen; j += kThreads)
        maximum_ = max_nan(maximum_, scores[j]);
      maximum_ = block_reduce<kThreads>(maximum_, MaxNan());
    }
    total_ = sum(0, seen, [](int) { return true; });
  }

  /// Of a block with this score.
  __device__ float of(float score) const { return given_ ? score : expf(score - maximum_); }
  __device__ double total() const { return total_; }
  /// p of block j.
  __device__ float p(int j) const {
    return given_ ? scores_[j] : static_cast<float>(of(scores_[j]) * (1.0 / total_));
  }

  /// Sum over the blocks of [begin, end) that `counts(j)`.
  template <typename Counts>
  __device__ double sum(int begin, int end, Counts&& counts) const {
    double sum = 0;
    for (int j = begin + static_cast<int>(threadIdx.x); j < end; j += kThreads) {
      if (counts(j)) sum += of(scores_[j]);
    }
    return block_reduce<kThreads>(sum, Sum());
  }

 private:
  const float* scores_;
  bool given_;
  float maximum_ = kMinusInfinity;
  double total_;
};

template <typename Counts>
__device__ int count_if(int count, Counts&& counts) {
  int sum = 0;
  for (int j = static_cast<int>(threadIdx.x); j < count; j += kThreads) sum += counts(j) ? 1 : 0;
  return block_reduce<kThreads>(sum, Sum());
}

/// Some of the candidates: `chosen` of them, by `cut`.
struct Choice {
  Cut cut;
  int chosen;
};

/// The fewest of the candidates [first, end) that, with what is kept anyway, have `share` of the weight of all `seen`
/// blocks: the key of the last one is found bit by bit.
__device__ Choice choose_weight(const float* scores, int seen, int first, int end, double share,
                                const Weights& weights) {
  const int count = end - first;
  if (share >= 1) return {.cut = {0, count}, .chosen = count};  // whatever sums round to
  const double enough = share * weights.total();
  const double forced = weights.sum(0, seen, [&](int j) { return j < first || j >= end; });
  if (forced >= enough || count == 0) return {.cut = {0, 0}, .chosen = 0};
  const auto weight_from = [&](uint32_t key) {
    return forced + weights.sum(first, end, [&](int j) { return ordered(scores[j]) >= key; });
  };
  if (!(weight_from(0) >= enough)) return {.cut = {0, count}, .chosen = count};  // rounding, or NaN
  uint32_t key = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t higher = key | 1U << bit;
    if (weight_from(higher) >= enough) key = higher;
  }
  const auto candidate = [&](int j) { return ordered(scores[first + j]); };
  const int above = count_if(count, [&](int j) { return candidate(j) > key; });
  const int equals = count_if(count, [&](int j) { return candidate(j) == key; });
  const double before = forced + weights.sum(first, end, [&](int j) { return ordered(scores[j]) > key; });
  const double missing = ceil((enough - before) / weights.of(from_ordered(key)));
  const int taken = missing < equals ? max(1, static_cast<int>(missing)) : equals;
  return {.cut = {key, taken}, .chosen = above + taken};
}

/// Candidates chosen by number, with what is kept anyway `wanted` blocks.
__device__ int chosen_of(int64_t wanted, int forced, int count) {
  return static_cast<int>(min(max(wanted - forced, int64_t{0}), static_cast<int64_t>(count)));
}

/// Block (row, head, segment).
__global__ void __launch_bounds__(kThreads) select_kernel(SelectKernelArgs a) {
  const ScoreSegment& segment = a.segments[blockIdx.z];
  if (blockIdx.x >= segment.queries.rows) return;
  const ScoreRow row = score_row(segment, a.head_count, a.query_rows, blockIdx.y, blockIdx.x);
  const SelectionRule& rule = a.rule;
  const float* scores = a.scores + row.begin;
  int32_t* list = a.blocks + row.begin;
  const auto seen = static_cast<int>(row.position + 1);
  const auto first = static_cast<int>(min(rule.sink_blocks, static_cast<int64_t>(seen)));
  const int64_t nearest = max(rule.local_blocks, static_cast<int64_t>(rule.always_diagonal));
  const auto end = static_cast<int>(max(static_cast<int64_t>(seen) - nearest, static_cast<int64_t>(first)));
  const int count = end - first;
  const int forced = seen - count;
  const double value = a.values != nullptr ? static_cast<double>(a.values[blockIdx.y]) : rule.value;

  const auto by_score = [&](int j) { return ordered(scores[first + j]); };
  const auto write = [&](auto&& key, Cut cut) {
    for_each_chosen<kThreads>(key, count, cut, [&](int j, int place) { list[first + place] = first + j; });
  };
  const int least = chosen_of(rule.min_blocks, forced, count);
  int chosen = 0;
  bool written = false;
  const bool whole_mass = rule.by == SelectBy::kTopP && value >= 1;  // however the sums round
  if (whole_mass || row.position >= segment.blocks - rule.dense_last_rows) {
    chosen = count;
  } else if (rule.by == SelectBy::kThreshold) {
    const Weights weights(scores, seen, a.probabilities);
    const auto above = [&](int j) {
      return static_cast<uint32_t>(weights.p(first + j) > static_cast<float>(value));
    };
    chosen = count_if(count, above);
    written = chosen >= least && chosen < count;
    if (written) write(above, Cut{.key = 0, .equals = 0});
  } else if (rule.by == SelectBy::kTopP) {
    const Weights weights(scores, seen, a.probabilities);
    const Choice choice = choose_weight(scores, seen, first, end, value, weights);
    chosen = choice.chosen;
    written = chosen >= least && chosen < count;
    if (written && chosen > 0) write(by_score, choice.cut);
  } else {
    const int64_t k =
        rule.by == SelectBy::kNzRatio
            ? static_cast<int64_t>((1.0 - sqrt(1.0 - value)) * static_cast<double>(segment.blocks))
            : static_cast<int64_t>(value) / a.block_size;
    chosen = chosen_of(max(k, int64_t{1}), forced, count);
  }
  chosen = max(chosen, least);
  if (!written && chosen > 0 && chosen < count) {
    write(by_score, cut_of_largest<kThreads>(by_score, count, chosen));
  } else if (chosen == count) {
    for (int j = static_cast<int>(threadIdx.x); j < count; j += kThreads) list[first + j] = first + j;
  }

  for (int j = static_cast<int>(threadIdx.x); j < first; j += kThreads) list[j] = j;
  for (int j = static_cast<int>(threadIdx.x); j < seen - end; j += kThreads)
    list[first + chosen + j] = end + j;
  if (threadIdx.x == 0) a.counts[row.slot] = forced + chosen;
}

/// Block h adds up the rows of head h.
__global__ void __launch_bounds__(kThreads)
    add_counts_kernel(const int32_t* counts, int64_t rows, double* kept) {
  int64_t sum = 0;
  for (int64_t r = threadIdx.x; r < rows; r += kThreads) sum += counts[blockIdx.x * rows + r];
  sum = block_reduce<kThreads>(sum, Sum());
  if (threadIdx.x == 0) kept[blockIdx.x] += static_cast<double>(sum);
}

}  // namespace

void select_blocks(cudaStream_t stream, const SelectArgs& a) {
  const ScoreLayout& layout = *a.layout;
  const int64_t longest = most_rows(layout.segments);
  if (longest == 0 || a.head_count == 0) return;
  const SelectKernelArgs args{.scores = elements<float>(a.scores),
                              .probabilities = a.probabilities,
                              .segments = device_table(layout.segments),
                              .head_count = a.head_count,
                              .query_rows = layout.num_query_rows,
                              .block_size = layout.block_size,
                              .rule = a.rule,
                              .values = a.values.empty() ? nullptr : elements<float>(a.values),
                              .counts = elements<int32_t>(a.lists.counts),
                              .blocks = elements<int32_t>(a.lists.blocks)};
  const dim3 grid(longest, a.head_count, grid_axis(layout.segments.host.size()));
  select_kernel<<<grid, kThreads, 0, stream>>>(args);
  check_launch("select_blocks");
  if (a.kept.empty()) return;
  add_counts_kernel<<<a.head_count, kThreads, 0, stream>>>(args.counts, args.query_rows,
                                                           elements<double>(a.kept));
  check_launch("select_blocks (counts)");
}

}  // namespace seer::cuda
