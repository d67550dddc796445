// Recall of the top-k blocks of every counted row, beside that of the best possible choice (SEMANTICS 7 and 9).
// One block computes one row.
#include <cmath>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/radix_select.cuh"
#include "cuda/score_row.cuh"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;

/// Share of the row's target mass on k of its `seen` blocks: those with the highest key, ties to the lower index;
/// with `keep_diagonal` the last one seen is among them.
__device__ double kept_share(const float* key, const float* target, int64_t seen, int64_t k,
                             bool keep_diagonal, double mass) {
  if (k >= seen) return 1.0;
  const auto candidates = static_cast<int>(keep_diagonal ? seen - 1 : seen);
  const auto chosen = static_cast<int>(keep_diagonal ? k - 1 : k);
  double kept = 0;
  if (chosen > 0) {
    const auto ordered_key = [key](int j) { return ordered(key[j]); };
    const Cut cut = cut_of_largest<kThreads>(ordered_key, candidates, chosen);
    for_each_chosen<kThreads>(ordered_key, candidates, cut, [&](int j, int) { kept += target[j]; });
  }
  kept = block_reduce<kThreads>(kept, Sum());
  if (keep_diagonal) kept += target[seen - 1];
  return kept / mass;
}

struct RecallKernelArgs {
  const float* scores;
  const float* target;
  const ScoreSegment* segments;
  double* recall;  ///< [head_count][num_query_rows]
  double* oracle;
  int64_t query_rows;
  int64_t head_count;
  double heads;
  double sequences;
  double nz_ratio;
};

/// Block (row, head, segment).
__global__ void recall_kernel(RecallKernelArgs a) {
  const ScoreSegment& segment = a.segments[blockIdx.z];
  if (blockIdx.x >= segment.queries.rows) return;
  const ScoreRow row = score_row(segment, a.head_count, a.query_rows, blockIdx.y, blockIdx.x);
  double recall = 0;
  double oracle = 0;
  if (row.position >= segment.first_loss_row) {
    const int64_t seen = row.position + 1;
    const float* target = a.target + row.begin;
    const int64_t k = max(int64_t{1}, static_cast<int64_t>((1.0 - sqrt(1.0 - a.nz_ratio)) *
                                                           static_cast<double>(segment.blocks)));
    double mass = 0;
    for (int64_t j = threadIdx.x; j < seen; j += kThreads) mass += target[j];
    mass = block_reduce<kThreads>(mass, Sum());
    const double weight = 1.0 / (a.heads * static_cast<double>(segment.loss_rows) * a.sequences);
    recall = weight * kept_share(a.scores + row.begin, target, seen, k, true, mass);
    oracle = weight * kept_share(target, target, seen, k, false, mass);
  }
  if (threadIdx.x == 0) {
    a.recall[row.slot] = recall;
    a.oracle[row.slot] = oracle;
  }
}

/// Block h adds the rows of head h to its two slots.
__global__ void add_recalls_kernel(const double* partial, int64_t rows, int64_t oracle_offset, double factor,
                                   double* recall, double* oracle) {
  double sums[2] = {0, 0};
  for (int64_t r = threadIdx.x; r < rows; r += kThreads) {
    sums[0] += partial[blockIdx.x * rows + r];
    sums[1] += partial[oracle_offset + blockIdx.x * rows + r];
  }
  sums[0] = block_reduce<kThreads>(sums[0], Sum());
  sums[1] = block_reduce<kThreads>(sums[1], Sum());
  if (threadIdx.x == 0) {
    recall[blockIdx.x] += factor * sums[0];
    oracle[blockIdx.x] += factor * sums[1];
  }
}

}  // namespace

size_t recall_workspace(const RecallArgs& args) {
  return 2 * args.head_count * args.layout->num_query_rows * sizeof(double);
}

void topk_recall(cudaStream_t stream, const RecallArgs& a) {
  const ScoreLayout& layout = *a.layout;
  const int64_t longest = most_rows(layout.segments);
  if (longest == 0 || a.head_count == 0) return;
  auto* partial = static_cast<double*>(a.workspace.raw());
  const int64_t rows = layout.num_query_rows;
  const RecallKernelArgs args{.scores = elements<float>(a.scores),
                              .target = elements<float>(a.target),
                              .segments = device_table(layout.segments),
                              .recall = partial,
                              .oracle = partial + a.head_count * rows,
                              .query_rows = rows,
                              .head_count = a.head_count,
                              .heads = static_cast<double>(a.heads),
                              .sequences = static_cast<double>(layout.sequences),
                              .nz_ratio = a.nz_ratio};
  const dim3 grid(longest, a.head_count, grid_axis(layout.segments.host.size()));
  recall_kernel<<<grid, kThreads, 0, stream>>>(args);
  check_launch("topk_recall");
  add_recalls_kernel<<<a.head_count, kThreads, 0, stream>>>(
      partial, rows, a.head_count * rows, a.factor, elements<double>(a.recall), elements<double>(a.oracle));
  check_launch("topk_recall (sums)");
}

}  // namespace seer::cuda
