// One tile of a matrix product in plain fp32 (no tensor cores: gates learn in fp32), from operands in any
// orientation: C[m, n] += sum over k of A[m, k] B[k, n].
//
// 128 threads compute 64 x 64 elements, each 8 x 4 of them; 16 terms at a time wait in shared memory (8.5 KB), and
// those of the next step are on their way in registers meanwhile.
#pragma once

#include <cstdint>

#include "cuda/device_code.cuh"

namespace seer::cuda {

constexpr int kTile = 64;
constexpr int kTileThreads = 128;

/// Element (i, k) of an operand lies at data[i * i_stride + k * k_stride]; one of the strides is 1. Elements outside
/// `rows` x `depth` read as 0.
template <typename T>
struct Operand {
  const T* data;
  int64_t i_stride, k_stride;
  int64_t rows, depth;
};

class TileProduct {
 public:
  /// Adds sum over k in [0, depth) for the tile whose first row of A is i0 and of B (column of C) j0. Both
  /// operands must have the same depth.
  template <typename TA, typename TB>
  __device__ void add(const Operand<TA>& a, int64_t i0, const Operand<TB>& b, int64_t j0) {
    __shared__ float tile_a[kDepth][kTile + kPad];
    __shared__ float tile_b[kDepth][kTile + kPad];
    float next_a[kLoads];
    float next_b[kLoads];
    fetch(a, i0, 0, next_a);
    fetch(b, j0, 0, next_b);
    for (int64_t k0 = 0; k0 < a.depth; k0 += kDepth) {
      __syncthreads();
      keep(a, next_a, tile_a);
      keep(b, next_b, tile_b);
      __syncthreads();
      if (k0 + kDepth < a.depth) {
        fetch(a, i0, k0 + kDepth, next_a);
        fetch(b, j0, k0 + kDepth, next_b);
      }
#pragma unroll
      for (int k = 0; k < kDepth; ++k) {
        float left[kRows];
        float right[kColumns];
#pragma unroll
        for (int r = 0; r < kRows; ++r) left[r] = tile_a[k][row(r)];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) right[c] = tile_b[k][column(c)];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int c = 0; c < kColumns; ++c) sum_[r][c] += left[r] * right[c];
        }
      }
    }
  }

  /// Calls function(row, column, value) for this thread's elements, relative to the tile.
  template <typename Function>
  __device__ void for_each(Function&& function) const {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) function(row(r), column(c), sum_[r][c]);
    }
  }

 private:
  static constexpr int kDepth = 16;
  static constexpr int kPad = 4;
  static constexpr int kRows = 8;
  static constexpr int kColumns = 4;
  static constexpr int kLoads = kTile * kDepth / kTileThreads;

  // Threads 16 apart hold neighbouring groups of 8 rows; neighbouring threads neighbouring groups of 4 columns.
  __device__ static int row(int r) {
    return static_cast<int>(threadIdx.x / 16) * kRows + r;
  }
  __device__ static int column(int c) {
    return static_cast<int>(threadIdx.x % 16) * kColumns + c;
  }

  /// Where this thread's n-th element of a tile lies: neighbouring threads read neighbouring addresses.
  template <typename T>
  __device__ static void place(const Operand<T>& operand, int n, int& i, int& k) {
    const int at = n * kTileThreads + static_cast<int>(threadIdx.x);
    if (operand.k_stride == 1) {
      i = at / kDepth;
      k = at % kDepth;
    } else {
      i = at % kTile;
      k = at / kTile;
    }
  }

  template <typename T>
  __device__ static void fetch(const Operand<T>& operand, int64_t i0, int64_t k0, float (&values)[kLoads]) {
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      int i = 0;
      int k = 0;
      place(operand, n, i, k);
      const bool inside = i0 + i < operand.rows && k0 + k < operand.depth;
      values[n] =
          inside ? to_float(operand.data[(i0 + i) * operand.i_stride + (k0 + k) * operand.k_stride]) : 0.0F;
    }
  }

  template <typename T>
  __device__ static void keep(const Operand<T>& operand, const float (&values)[kLoads],
                              float (&tile)[kDepth][kTile + kPad]) {
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      int i = 0;
      int k = 0;
      place(operand, n, i, k);
      tile[k][i] = values[n];
    }
  }

  float sum_[kRows][kColumns] = {};
};

}  // namespace seer::cuda
