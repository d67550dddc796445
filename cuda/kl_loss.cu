// The distillation loss of SEMANTICS 4 and 8 with its gradient: for every row, a log-softmax over the blocks it
// sees, then
//   loss += weight * sum_j T (ln T - ln p),   d loss / d s = weight * (p * sum_j T - T),
// weight = 1 / (number of elements, or rows, of the whole sequence over all heads) / (number of sequences).
//
// A team of threads (score_row.cuh) computes one row. It copies scores and T into shared memory, all of a row at once,
// and reads them there: kept in registers, the unrolled code is so long that fetching it takes longer than the rows do.
// With z = s - max, and ln p = z - ln sum, one pass gives sum_j e^z, sum_j T and sum_j T (ln T - z), which are all the
// loss needs, and leaves e^z for the gradient. Four neighbours are added in fp32, everything else in fp64.
#include "cuda/attention/ptx_sm80.cuh"
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/score_row.cuh"

namespace seer::cuda {
namespace {

struct KlKernelArgs {
  float* scores;
  const float* target;
  const ScoreSegment* segments;
  double* partial;  ///< [head_count][num_query_rows] losses of rows
  int64_t query_rows;
  int64_t head_count;
  double weight;  ///< 1 / (heads * sequences)
  double gradient_factor;
  Visibility visible;
  bool by_rows;
  bool want_gradient;
};

/// What a row's loss and gradient are made of.
struct RowSums {
  double exponentials = 0;  ///< sum_j e^z
  double mass = 0;          ///< sum_j T
  double cross = 0;         ///< sum_j T (ln T - z)

  /// Adds the first `count` elements of a quad and turns their scores into e^z, those of the others into 0.
  __device__ void add(Quad& scores, const Quad& target, float maximum, int count) {
    float of_exponentials = 0;
    float of_mass = 0;
    float of_cross = 0;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float t = e < count ? target.values[e] : 0.0F;
      const float z = e < count ? scores.values[e] - maximum : kNothing;
      // A NaN score must reach the loss even where T is 0, so only the logarithm of T is left out there.
      const float log_t = logf(t > 0 ? t : 1.0F);
      scores.values[e] = exp2_approx(z * kLog2E);
      of_exponentials += scores.values[e];
      of_mass += t;
      of_cross += t * (log_t - z);
    }
    exponentials += of_exponentials;
    mass += of_mass;
    cross += of_cross;
  }

 private:
  static constexpr float kLog2E = 1.44269504F;
  static constexpr float kNothing = -1e4F;  ///< Finite, with e^kNothing = 0
};

/// A thread's share of scores and T: quads of the row that only it writes and reads.
template <int kTeam>
struct KeptRow {
  static constexpr int kQuads = kTeam <= 128 ? Team<kTeam>::kKept : 2;  ///< 32 KB for a thread block
  using Quads = Quad[kQuads][Team<kTeam>::kBlockThreads];

  Quads scores;
  Quads target;

  template <bool kAligned>
  __device__ static void copy(Quads& to, const float* row, int seen) {
#pragma unroll
    for (int n = 0; n < kQuads; ++n) {
      const int column = Team<kTeam>::column(n);
      Quad& quad = to[n][threadIdx.x];
      if constexpr (kAligned)
        cp_async_16(shared_address(&quad), row + column, column < seen ? 16 : 0);
      else
        quad = read_quad<kAligned>(row, column, seen);
    }
  }
};

/// One row of `blocks` blocks by its team. The row sees the first `seen`; 0: it does not count.
template <int kTeam, bool kAligned>
__device__ void compute_row(const KlKernelArgs& a, KeptRow<kTeam>& kept, float* scores, const float* target,
                            int blocks, int seen, double weight, double& loss) {
  using Team = Team<kTeam>;
  using Kept = KeptRow<kTeam>;
  Kept::template copy<kAligned>(kept.scores, scores, seen);
  Kept::template copy<kAligned>(kept.target, target, seen);
  cp_async_commit();
  cp_async_wait<0>();
  // Calls function(column, count, scores, T, where the scores are kept) for this thread's quads below `end`, `count`
  // elements of which are seen. Nearly all are whole: for them `count` is a constant, and what checks it costs nothing.
  const auto each = [&](int end, auto&& function) {
    int n = 0;
#pragma unroll 1
    for (; n < Kept::kQuads && (n + 1) * Team::kStep <= seen; ++n) {
      const Quad s = kept.scores[n][threadIdx.x];
      const Quad t = kept.target[n][threadIdx.x];
      function(Team::column(n), 4, s, t, kept.scores[n][threadIdx.x]);
    }
#pragma unroll 1
    for (; n < Kept::kQuads && n * Team::kStep < end; ++n) {
      const int column = Team::column(n);
      const Quad s = kept.scores[n][threadIdx.x];
      const Quad t = kept.target[n][threadIdx.x];
      function(column, seen - column, s, t, kept.scores[n][threadIdx.x]);
    }
  };
  // The same for the quads of a row too long to be kept.
  const auto each_far = [&](int end, auto&& function) {
    if constexpr (kTeam == 512) {
#pragma unroll 1
      for (int column = Team::column(Kept::kQuads); column < end; column += Team::kStep) {
        Quad far_scores = read_quad<kAligned>(scores, column, seen);
        function(column, seen - column, far_scores, read_quad<kAligned>(target, column, seen), far_scores);
      }
    }
  };

  float maximum = kMinusInfinity;
  const auto find_maximum = [&](int, int count, const Quad& s, const Quad&, const Quad&) {
#pragma unroll
    for (int e = 0; e < 4; ++e) maximum = max_nan(maximum, e < count ? s.values[e] : kMinusInfinity);
  };
  each(seen, find_maximum);
  each_far(seen, find_maximum);
  maximum = Team::reduce(maximum, MaxNan());

  RowSums sums;
  const auto add = [&](int, int count, Quad s, const Quad& t, Quad& kept_exponentials) {
    sums.add(s, t, maximum, count);
    kept_exponentials = s;
  };
  each(seen, add);
  each_far(seen, add);
  sums.exponentials = Team::reduce(sums.exponentials, Sum());
  sums.mass = Team::reduce(sums.mass, Sum());
  sums.cross = Team::reduce(sums.cross, Sum());
  const auto exponentials = static_cast<float>(sums.exponentials);
  if (Team::leads()) loss = seen == 0 ? 0.0 : weight * (sums.cross + logf(exponentials) * sums.mass);
  if (!a.want_gradient) return;

  const auto factor = static_cast<float>(weight * a.gradient_factor);
  const float share = factor * (static_cast<float>(sums.mass) / exponentials);
  const auto write_gradient = [&](int column, int count, const Quad& s, const Quad& t, const Quad&) {
    Quad gradient;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      gradient.values[e] = e < count ? s.values[e] * share - t.values[e] * factor : 0.0F;
    }
    write_quad<kAligned>(scores, column, blocks, gradient);
  };
  each(blocks, write_gradient);
  each_far(blocks, [&](int column, int count, Quad s, const Quad& t, const Quad&) {
    RowSums().add(s, t, maximum, count);  // to e^z, as before
    write_gradient(column, count, s, t, s);
  });
}

/// Block (rows, head, segment).
template <int kTeam>
__global__ void __launch_bounds__(Team<kTeam>::kBlockThreads) kl_kernel(KlKernelArgs a) {
  __shared__ KeptRow<kTeam> kept;
  const ScoreSegment& segment = a.segments[blockIdx.z];
  // The last row first: those at the end see the most, and the short ones fill the gaps that they leave.
  const int64_t i = segment.queries.rows - 1 - Team<kTeam>::row();
  if (team_size(segment.blocks) != kTeam || i < 0) return;
  const ScoreRow row = score_row(segment, a.head_count, a.query_rows, blockIdx.y, i);
  const bool counted = row.position >= segment.first_loss_row;
  const auto seen = counted ? static_cast<int>(a.visible(row.position)) : 0;
  const double weight =
      a.weight / static_cast<double>(segment.loss_rows * (a.by_rows ? 1 : segment.loss_columns));
  float* scores = a.scores + row.begin;
  const float* target = a.target + row.begin;
  const auto blocks = static_cast<int>(segment.blocks);
  if (quads_align(scores, blocks) && quads_align(target, blocks)) {
    compute_row<kTeam, true>(a, kept, scores, target, blocks, seen, weight, a.partial[row.slot]);
  } else {
    compute_row<kTeam, false>(a, kept, scores, target, blocks, seen, weight, a.partial[row.slot]);
  }
}

constexpr int kSumThreads = 1024;

/// Block h adds the rows of head h to its slot.
__global__ void __launch_bounds__(kSumThreads)
    add_losses_kernel(const double* partial, int64_t rows, double factor, double* losses) {
  double sum = 0;
  for (int64_t r = threadIdx.x; r < rows; r += kSumThreads) sum += partial[blockIdx.x * rows + r];
  sum = block_reduce<kSumThreads>(sum, Sum());
  if (threadIdx.x == 0) losses[blockIdx.x] += factor * sum;
}

}  // namespace

size_t kl_workspace(const KlArgs& args) {
  return args.head_count * args.layout->num_query_rows * sizeof(double);
}

void kl_loss(cudaStream_t stream, const KlArgs& a) {
  const ScoreLayout& layout = *a.layout;
  if (layout.num_query_rows == 0 || a.head_count == 0) return;
  auto* partial = static_cast<double*>(a.workspace.raw());
  const KlKernelArgs args{.scores = elements<float>(a.scores),
                          .target = elements<float>(a.target),
                          .segments = device_table(layout.segments),
                          .partial = partial,
                          .query_rows = layout.num_query_rows,
                          .head_count = a.head_count,
                          .weight = 1.0 / static_cast<double>(a.heads * layout.sequences),
                          .gradient_factor = a.gradient_factor,
                          .visible = Visibility(layout),
                          .by_rows = a.reduction == LossReduction::kRows,
                          .want_gradient = a.want_gradient};
  for_each_team(layout, a.head_count, [&](auto size, dim3 grid) {
    kl_kernel<size><<<grid, Team<size>::kBlockThreads, 0, stream>>>(args);
    check_launch("kl_loss");
  });
  add_losses_kernel<<<a.head_count, kSumThreads, 0, stream>>>(partial, layout.num_query_rows, a.loss_factor,
                                                              elements<double>(a.losses));
  check_launch("kl_loss (sums)");
}

}  // namespace seer::cuda
