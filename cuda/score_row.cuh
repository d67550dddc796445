// Rows of score matrices (ScoreSegment, src/ops/layout.h) and the threads that compute them.
//
// A row is the work of a team of threads: a warp, or a whole thread block where the row is long, so that a thread's
// share is at most 32 elements up to 16,384 blocks. How many threads a row gets, and with it the order of its sums,
// depends on its matrix alone, not on the pack or the range of heads around it.
#pragma once

#include <algorithm>

#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {

/// First element of the matrix of one of `heads` heads.
__device__ inline int64_t matrix_begin(const ScoreSegment& segment, int64_t heads, int64_t head) {
  return segment.matrix * heads + head * segment.queries.rows * segment.blocks;
}

/// ScoreLayout::visible on the device.
struct Visibility {
  bool decode;
  int64_t block_size;

  explicit Visibility(const ScoreLayout& layout)
      : decode(layout.kind == ScoreKind::kDecode), block_size(layout.block_size) {}
  __device__ int64_t operator()(int64_t position) const {
    return decode ? position / block_size : position + 1;
  }
};

struct ScoreRow {
  int64_t position;  ///< In its sequence
  int64_t begin;     ///< Its first element in the buffer of matrices
  int64_t slot;      ///< Its place in [heads][query rows]
};

/// Row i of the segment's matrix of one of `heads` heads.
__device__ inline ScoreRow score_row(const ScoreSegment& segment, int64_t heads, int64_t query_rows,
                                     int64_t head, int64_t i) {
  return {.position = segment.queries.position + i,
          .begin = matrix_begin(segment, heads, head) + i * segment.blocks,
          .slot = head * query_rows + segment.queries.row + i};
}

using Quad = Vector<float, 4>;

/// Whether the row can be read and written 16 bytes at a time. Where not, a thread has the same elements nevertheless,
/// and sums the same order.
__device__ inline bool quads_align(const float* row, int64_t blocks) {
  return blocks % 4 == 0 && reinterpret_cast<uintptr_t>(row) % sizeof(Quad) == 0;
}

/// The row's elements from `column` on; those that are not below `end` may be anything. Nothing here waits for what is
/// loaded: a thread has all its quads on their way before it looks at one.
template <bool kAligned>
__device__ Quad read_quad(const float* row, int column, int end) {
  Quad quad{};
  if constexpr (kAligned) {
    if (column < end) quad = load<float, 4>(row + column);
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (column + e < end) quad.values[e] = row[column + e];
    }
  }
  return quad;
}

/// Writes the elements that are below `end`, a multiple of 4 if kAligned.
template <bool kAligned>
__device__ void write_quad(float* row, int column, int end, const Quad& quad) {
  if constexpr (kAligned) {
    // By CUDA's own function: the compiler may split a plain store in four.
    const auto& [x, y, z, w] = quad.values;
    if (column < end) __stcg(reinterpret_cast<float4*>(row + column), make_float4(x, y, z, w));
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (column + e < end) row[column + e] = quad.values[e];
    }
  }
}

/// The team of kSize threads that computes a row.
template <int kSize>
struct Team {
  static constexpr int kBlockThreads = kSize < 128 ? 128 : kSize;
  static constexpr int kRows = kBlockThreads / kSize;  ///< Of a thread block, whose axis of rows is x
  static constexpr int kKept = 8;                      ///< Quads of a thread's share
  static constexpr int kStep = 4 * kSize;              ///< From a thread's quad to its next
  static constexpr int kReach = kKept * kStep;         ///< What such shares cover of a row

  __device__ static int64_t row() { return static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kSize; }
  __device__ static bool leads() { return threadIdx.x % kSize == 0; }
  /// Column of the thread's n-th quad.
  __device__ static int column(int n) { return n * kStep + 4 * static_cast<int>(threadIdx.x % kSize); }
  template <typename T, typename Op>
  __device__ static T reduce(T value, Op op) {
    return block_reduce<kSize>(value, op);
  }
};

/// Threads for each row of `blocks` elements.
__host__ __device__ inline int team_size(int64_t blocks) {
  return blocks <= Team<32>::kReach ? 32 : blocks <= Team<128>::kReach ? 128 : 512;
}

/// Calls launch(std::integral_constant<int, team>, grid) for every size of team that rows of the layout need; grid is
/// (rows, heads, segments). Kernels leave the rows of the other sizes alone.
template <typename Launch>
void for_each_team(const ScoreLayout& layout, int64_t heads, Launch&& launch) {
  if (heads == 0) return;
  const auto of_size = [&](auto size) {
    int64_t rows = 0;
    for (const ScoreSegment& segment : layout.segments.host) {
      if (team_size(segment.blocks) == size) rows = std::max(rows, segment.queries.rows);
    }
    if (rows == 0) return;
    const dim3 grid(ceil_div(rows, Team<size>::kRows), heads, grid_axis(layout.segments.host.size()));
    launch(size, grid);
  };
  of_size(std::integral_constant<int, 32>());
  of_size(std::integral_constant<int, 128>());
  of_size(std::integral_constant<int, 512>());
}

}  // namespace seer::cuda
