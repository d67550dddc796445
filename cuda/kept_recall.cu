// Share of the target's row mass on the blocks that a selection keeps (SEMANTICS 9). One block computes one row.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/score_row.cuh"

namespace seer::cuda {
namespace {

constexpr int kThreads = 128;

struct KeptRecallKernelArgs {
  const int32_t* counts;
  const int32_t* blocks;
  const float* target;
  const ScoreSegment* segments;
  double* recall;  ///< [head_count][query_rows]
  int64_t query_rows;
  int64_t head_count;
  double heads;
  double sequences;
};

/// Block (row, head, segment).
__global__ void __launch_bounds__(kThreads) kept_share_kernel(KeptRecallKernelArgs a) {
  const ScoreSegment& segment = a.segments[blockIdx.z];
  if (blockIdx.x >= segment.queries.rows) return;
  const ScoreRow row = score_row(segment, a.head_count, a.query_rows, blockIdx.y, blockIdx.x);
  double share = 0;
  if (row.position >= segment.first_loss_row) {
    const float* target = a.target + row.begin;
    const int32_t* list = a.blocks + row.begin;
    double mass = 0;
    for (int64_t j = threadIdx.x; j <= row.position; j += kThreads) mass += target[j];
    double kept = 0;
    for (int n = static_cast<int>(threadIdx.x); n < a.counts[row.slot]; n += kThreads)
      kept += target[list[n]];
    mass = block_reduce<kThreads>(mass, Sum());
    kept = block_reduce<kThreads>(kept, Sum());
    share = kept / (mass * a.heads * static_cast<double>(segment.loss_rows) * a.sequences);
  }
  if (threadIdx.x == 0) a.recall[row.slot] = share;
}

/// Block h adds the rows of head h to its slot.
__global__ void __launch_bounds__(kThreads)
    add_shares_kernel(const double* shares, int64_t rows, double factor, double* recall) {
  double sum = 0;
  for (int64_t r = threadIdx.x; r < rows; r += kThreads) sum += shares[blockIdx.x * rows + r];
  sum = block_reduce<kThreads>(sum, Sum());
  if (threadIdx.x == 0) recall[blockIdx.x] += factor * sum;
}

}  // namespace

size_t kept_recall_workspace(const KeptRecallArgs& args) {
  return args.head_count * args.layout->num_query_rows * sizeof(double);
}

void kept_recall(cudaStream_t stream, const KeptRecallArgs& a) {
  const ScoreLayout& layout = *a.layout;
  const int64_t longest = most_rows(layout.segments);
  if (longest == 0 || a.head_count == 0) return;
  auto* shares = static_cast<double*>(a.workspace.raw());
  const KeptRecallKernelArgs args{.counts = elements<int32_t>(a.lists.counts),
                                  .blocks = elements<int32_t>(a.lists.blocks),
                                  .target = elements<float>(a.target),
                                  .segments = device_table(layout.segments),
                                  .recall = shares,
                                  .query_rows = layout.num_query_rows,
                                  .head_count = a.head_count,
                                  .heads = static_cast<double>(a.heads),
                                  .sequences = static_cast<double>(layout.sequences)};
  const dim3 grid(longest, a.head_count, grid_axis(layout.segments.host.size()));
  kept_share_kernel<<<grid, kThreads, 0, stream>>>(args);
  check_launch("kept_recall");
  add_shares_kernel<<<a.head_count, kThreads, 0, stream>>>(shares, args.query_rows, a.factor,
                                                           elements<double>(a.recall));
  check_launch("kept_recall (sums)");
}

}  // namespace seer::cuda
