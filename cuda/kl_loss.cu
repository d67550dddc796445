// The distillation loss of SEMANTICS 4 and 8 with its gradient: for every row, a log-softmax over the blocks it
// sees, then
//   loss += weight * sum_j T (ln T - ln p),   d loss / d s = weight * (p * sum_j T - T),
// weight = 1 / (number of elements, or rows, of the whole sequence over all heads) / (number of sequences).
//
// A team of threads (score_row.cuh) computes one row and reads scores and T once. With z = s - max, and ln p = z - ln
// sum, one pass over the registers gives sum_j e^z, sum_j T and sum_j T (ln T - z), which are all the loss needs, and
// leaves e^z for the gradient. Four neighbours are added in fp32, everything else in fp64.
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
      scores.values[e] = expf(z);
      of_exponentials += scores.values[e];
      of_mass += t;
      of_cross += t * (log_t - z);
    }
    exponentials += of_exponentials;
    mass += of_mass;
    cross += of_cross;
  }

 private:
  static constexpr float kNothing = -1e4F;  ///< Finite, with e^kNothing = 0
};

/// One row of `blocks` blocks by its team. The row sees the first `seen`; 0: it does not count.
template <int kTeam, bool kAligned>
__device__ void compute_row(const KlKernelArgs& a, float* scores, const float* target, int blocks, int seen,
                            double weight, double& loss) {
  using Team = Team<kTeam>;
  Quad kept_scores[Team::kKept];
  Quad kept_target[Team::kKept];
#pragma unroll
  for (int n = 0; n < Team::kKept; ++n) {
    kept_scores[n] = read_quad<kAligned>(scores, Team::column(n), seen);
    kept_target[n] = read_quad<kAligned>(target, Team::column(n), seen);
  }
  // Calls function(count, scores, T) for this thread's quads, of which `count` elements are seen; those of a very long
  // row are read again. Most quads are whole: for them `count` is a constant, and what checks it costs nothing.
  const auto each = [&](auto&& function) {
#pragma unroll
    for (int n = 0; n < Team::kKept; ++n) {
      if ((n + 1) * Team::kStep <= seen) {
        function(4, kept_scores[n], kept_target[n]);
      } else {
        if (n * Team::kStep >= seen) break;
        function(seen - Team::column(n), kept_scores[n], kept_target[n]);
      }
    }
    for (int column = Team::column(Team::kKept); column < seen; column += Team::kStep) {
      Quad far_scores = read_quad<kAligned>(scores, column, seen);
      function(seen - column, far_scores, read_quad<kAligned>(target, column, seen));
    }
  };

  float maximum = kMinusInfinity;
  each([&](int count, const Quad& s, const Quad&) {
#pragma unroll
    for (int e = 0; e < 4; ++e) maximum = max_nan(maximum, e < count ? s.values[e] : kMinusInfinity);
  });
  maximum = Team::reduce(maximum, MaxNan());

  RowSums sums;
  each([&](int count, Quad& s, const Quad& t) { sums.add(s, t, maximum, count); });
  sums.exponentials = Team::reduce(sums.exponentials, Sum());
  sums.mass = Team::reduce(sums.mass, Sum());
  sums.cross = Team::reduce(sums.cross, Sum());
  const auto exponentials = static_cast<float>(sums.exponentials);
  if (Team::leads()) loss = seen == 0 ? 0.0 : weight * (sums.cross + logf(exponentials) * sums.mass);
  if (!a.want_gradient) return;

  const auto factor = static_cast<float>(weight * a.gradient_factor);
  const float share = factor * (static_cast<float>(sums.mass) / exponentials);
  const auto write_gradient = [&](int column, const Quad& exponentials, const Quad& t) {
    Quad gradient{};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float value = exponentials.values[e] * share - t.values[e] * factor;
      gradient.values[e] = column + e < seen ? value : 0.0F;
    }
    write_quad<kAligned>(scores, column, blocks, gradient);
  };
#pragma unroll
  for (int n = 0; n < Team::kKept; ++n) write_gradient(Team::column(n), kept_scores[n], kept_target[n]);
  for (int column = Team::column(Team::kKept); column < blocks; column += Team::kStep) {
    Quad far_scores = read_quad<kAligned>(scores, column, seen);
    const Quad far_target = read_quad<kAligned>(target, column, seen);
    RowSums().add(far_scores, far_target, maximum, seen - column);  // to e^z, as before
    write_gradient(column, far_scores, far_target);
  }
}

/// Block (rows, head, segment).
template <int kTeam>
__global__ void __launch_bounds__(Team<kTeam>::kBlockThreads, kTeam == 32 ? 5 : 1) kl_kernel(KlKernelArgs a) {
  const ScoreSegment& segment = a.segments[blockIdx.z];
  const int64_t i = Team<kTeam>::row();
  if (team_size(segment.blocks) != kTeam || i >= segment.queries.rows) return;
  const ScoreRow row = score_row(segment, a.head_count, a.query_rows, blockIdx.y, i);
  const bool counted = row.position >= segment.first_loss_row;
  const auto seen = counted ? static_cast<int>(a.visible(row.position)) : 0;
  const double weight =
      a.weight / static_cast<double>(segment.loss_rows * (a.by_rows ? 1 : segment.loss_columns));
  float* scores = a.scores + row.begin;
  const float* target = a.target + row.begin;
  const auto blocks = static_cast<int>(segment.blocks);
  if (quads_align(scores, blocks) && quads_align(target, blocks)) {
    compute_row<kTeam, true>(a, scores, target, blocks, seen, weight, a.partial[row.slot]);
  } else {
    compute_row<kTeam, false>(a, scores, target, blocks, seen, weight, a.partial[row.slot]);
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
