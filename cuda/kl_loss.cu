// The distillation loss of SEMANTICS 4 and 8 with its gradient: for every row, a log-softmax over the blocks it
// sees, then
//   loss += weight * sum_j T (ln T - ln p),   d loss / d s = weight * (p * sum_j T - T),
// weight = 1 / (number of elements, or rows, of the whole sequence over all heads) / (number of sequences).
//
// One block computes one row. A thread keeps its first kKept elements, so rows of up to 2048 blocks are read once.
// Sums are fp64, which costs nothing beside the reads.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kKept = 16;

struct KlKernelArgs {
  float* scores;
  const float* target;
  const ScoreSegment* segments;
  double* partial;  ///< [head_count][num_query_rows] losses of rows
  int64_t query_rows;
  int64_t head_count;
  double heads;
  double sequences;
  double gradient_factor;
  int64_t block_size;
  bool decode;
  bool by_rows;
  bool want_gradient;
};

/// Block (row, head, segment).
__global__ void kl_kernel(KlKernelArgs a) {
  const ScoreSegment& segment = a.segments[blockIdx.z];
  const int64_t i = blockIdx.x;
  const int64_t head = blockIdx.y;
  if (i >= segment.queries.rows) return;
  const int64_t position = segment.queries.position + i;
  const int64_t seen = a.decode ? position / a.block_size : position + 1;
  const int64_t offset = segment.matrix * a.head_count + (head * segment.queries.rows + i) * segment.blocks;
  float* scores = a.scores + offset;
  const float* target = a.target + offset;
  double* loss_slot = a.partial + head * a.query_rows + segment.queries.row + i;
  const bool counted = position >= segment.first_loss_row && seen > 0;
  if (!counted) {
    if (threadIdx.x == 0) *loss_slot = 0;
    if (a.want_gradient) {
      for (int64_t j = threadIdx.x; j < segment.blocks; j += kThreads) scores[j] = 0;
    }
    return;
  }
  const double count = a.heads * static_cast<double>(segment.loss_rows) *
                       (a.by_rows ? 1.0 : static_cast<double>(segment.loss_columns));
  const double weight = 1.0 / (count * a.sequences);

  float kept_scores[kKept];
  float kept_target[kKept];
#pragma unroll
  for (int n = 0; n < kKept; ++n) {
    const int64_t j = n * kThreads + threadIdx.x;
    if (j >= seen) break;
    kept_scores[n] = scores[j];
    kept_target[n] = target[j];
  }
  // Calls function(j, score, T) for this thread's elements; those of a very long row are read again.
  const auto each = [&](auto&& function) {
#pragma unroll
    for (int n = 0; n < kKept; ++n) {
      const int64_t j = n * kThreads + threadIdx.x;
      if (j >= seen) break;
      function(j, kept_scores[n], kept_target[n]);
    }
    for (int64_t j = kKept * kThreads + threadIdx.x; j < seen; j += kThreads) {
      function(j, scores[j], target[j]);
    }
  };

  float maximum = kMinusInfinity;
  each([&](int64_t, float score, float) { maximum = max_nan(maximum, score); });
  maximum = block_reduce<kThreads>(maximum, MaxNan());
  double sum = 0;
  each([&](int64_t, float score, float) { sum += expf(score - maximum); });
  const auto log_sum =
      static_cast<float>(log(block_reduce<kThreads>(sum, Sum())));  // relative to the maximum

  double loss = 0;
  double mass = 0;
  each([&](int64_t, float score, float t) {
    mass += t;
    // A NaN score must reach the loss even where T is 0, so only the logarithm of T is left out there.
    const float log_t = t > 0 ? logf(t) : 0.0F;
    loss += static_cast<double>(t) * (log_t - (score - maximum - log_sum));
  });
  loss = block_reduce<kThreads>(loss, Sum());
  if (threadIdx.x == 0) *loss_slot = weight * loss;
  if (!a.want_gradient) return;

  const auto row_mass = static_cast<float>(block_reduce<kThreads>(mass, Sum()));
  const auto factor = static_cast<float>(weight * a.gradient_factor);
  each([&](int64_t j, float score, float t) {
    scores[j] = factor * (expf(score - maximum - log_sum) * row_mass - t);
  });
  for (int64_t j = seen + threadIdx.x; j < segment.blocks; j += kThreads) scores[j] = 0;
}

/// Block h adds the rows of head h to its slot.
__global__ void add_losses_kernel(const double* partial, int64_t rows, double factor, double* losses) {
  constexpr int kSumThreads = 256;
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
  int64_t most_rows = 0;
  for (const ScoreSegment& segment : layout.segments.host)
    most_rows = std::max(most_rows, segment.queries.rows);
  if (most_rows == 0 || a.head_count == 0) return;
  auto* partial = static_cast<double*>(a.workspace.raw());
  const KlKernelArgs args{.scores = elements<float>(a.scores),
                          .target = elements<float>(a.target),
                          .segments = device_table(layout.segments),
                          .partial = partial,
                          .query_rows = layout.num_query_rows,
                          .head_count = a.head_count,
                          .heads = static_cast<double>(a.heads),
                          .sequences = static_cast<double>(layout.sequences),
                          .gradient_factor = a.gradient_factor,
                          .block_size = layout.block_size,
                          .decode = layout.kind == ScoreKind::kDecode,
                          .by_rows = a.reduction == LossReduction::kRows,
                          .want_gradient = a.want_gradient};
  const dim3 grid(most_rows, a.head_count, layout.segments.host.size());
  kl_kernel<<<grid, kThreads, 0, stream>>>(args);
  check_launch("kl_loss");
  add_losses_kernel<<<a.head_count, 256, 0, stream>>>(partial, layout.num_query_rows, a.loss_factor,
                                                      elements<double>(a.losses));
  check_launch("kl_loss (sums)");
}

}  // namespace seer::cuda
