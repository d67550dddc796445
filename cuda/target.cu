// T from the log block maxima (SEMANTICS 3): maxima of neighbouring blocks, exp, rows divided by their sums. A team of
// threads (score_row.cuh) computes one row and holds it until its sum is known.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "cuda/score_row.cuh"

namespace seer::cuda {
namespace {

struct TargetArgs {
  const float* log_max;
  const ScoreSegment* fine;
  const ScoreSegment* coarse;
  int64_t heads;
  int ratio;  ///< Fine blocks in a coarse one, along either axis
  float* target;
};

/// The largest log maximum of a coarse block: `rows` by `columns` fine blocks, rows `stride` apart.
__device__ float largest(const float* maxima, int64_t stride, int rows, int columns) {
  float largest = kMinusInfinity;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) largest = max_nan(largest, maxima[r * stride + c]);
  }
  return largest;
}

/// e to each; 0 for those that are not below `end`.
__device__ Quad exponentials(Quad quad, int column, int end) {
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float exponential = expf(quad.values[e]);
    quad.values[e] = column + e < end ? exponential : 0.0F;
  }
  return quad;
}

/// Row i of a matrix by its team. The row sees the first `seen` of its blocks.
template <int kTeam, bool kSame, bool kAligned>
__device__ void compute_row(const float* maxima, float* target, const ScoreSegment& fine, int ratio,
                            int64_t i, int blocks, int seen) {
  using Team = Team<kTeam>;
  const auto read = [&](int column) {
    if constexpr (kSame) return read_quad<kAligned>(maxima, column, seen);
    Quad quad{};
    const auto rows = static_cast<int>(min(static_cast<int64_t>(ratio), fine.queries.rows - i * ratio));
    for (int e = 0; e < 4 && column + e < seen; ++e) {
      const int64_t first = static_cast<int64_t>(column + e) * ratio;
      const auto columns = static_cast<int>(min(static_cast<int64_t>(ratio), fine.blocks - first));
      quad.values[e] = largest(maxima + first, fine.blocks, rows, columns);
    }
    return quad;
  };
  Quad kept[Team::kKept];
#pragma unroll
  for (int n = 0; n < Team::kKept; ++n) kept[n] = read(Team::column(n));
  const auto far = [&](int column) { return exponentials(read(column), column, seen); };

  double sum = 0;
  const auto add = [&](const Quad& quad) {
    sum += (quad.values[0] + quad.values[1]) + (quad.values[2] + quad.values[3]);
  };
#pragma unroll
  for (int n = 0; n < Team::kKept; ++n) {
    kept[n] = exponentials(kept[n], Team::column(n), seen);
    add(kept[n]);
  }
  for (int column = Team::column(Team::kKept); column < seen; column += Team::kStep) add(far(column));
  const auto factor = static_cast<float>(1.0 / Team::reduce(sum, Sum()));

  const auto write = [&](int column, Quad quad) {
  // Above the diagonal T is 0 even where the row is NaN.
#pragma unroll
    for (int e = 0; e < 4; ++e) quad.values[e] = column + e < seen ? quad.values[e] * factor : 0.0F;
    write_quad<kAligned>(target, column, blocks, quad);
  };
#pragma unroll
  for (int n = 0; n < Team::kKept; ++n) write(Team::column(n), kept[n]);
  for (int column = Team::column(Team::kKept); column < blocks; column += Team::kStep) {
    write(column, far(column));
  }
}

/// Block (rows, head, segment). With kSame the blocks wanted are those of the maxima.
template <int kTeam, bool kSame>
__global__ void __launch_bounds__(Team<kTeam>::kBlockThreads) normalise_target_kernel(TargetArgs a) {
  const ScoreSegment& segment = a.coarse[blockIdx.z];
  const ScoreSegment& fine = a.fine[blockIdx.z];
  const int64_t i = Team<kTeam>::row();
  if (team_size(segment.blocks) != kTeam || i >= segment.queries.rows) return;
  const auto blocks = static_cast<int>(segment.blocks);
  const auto seen = static_cast<int>(segment.queries.position + i) + 1;
  const float* maxima = a.log_max + matrix_begin(fine, a.heads, blockIdx.y) + i * a.ratio * fine.blocks;
  float* target = a.target + matrix_begin(segment, a.heads, blockIdx.y) + i * blocks;
  if (quads_align(maxima, fine.blocks) && quads_align(target, blocks)) {
    compute_row<kTeam, kSame, true>(maxima, target, fine, a.ratio, i, blocks, seen);
  } else {
    compute_row<kTeam, kSame, false>(maxima, target, fine, a.ratio, i, blocks, seen);
  }
}

}  // namespace

void normalise_target(cudaStream_t stream, ConstTensor block_log_max, const ScoreLayout& fine,
                      const ScoreLayout& coarse, int64_t heads, Tensor target) {
  const TargetArgs args{.log_max = elements<float>(block_log_max),
                        .fine = device_table(fine.segments),
                        .coarse = device_table(coarse.segments),
                        .heads = heads,
                        .ratio = static_cast<int>(coarse.block_size / fine.block_size),
                        .target = elements<float>(target)};
  for_each_team(coarse, heads, [&](auto size, dim3 grid) {
    if (args.ratio == 1)
      normalise_target_kernel<size, true><<<grid, Team<size>::kBlockThreads, 0, stream>>>(args);
    else
      normalise_target_kernel<size, false><<<grid, Team<size>::kBlockThreads, 0, stream>>>(args);
    check_launch("normalise_target");
  });
}

}  // namespace seer::cuda
