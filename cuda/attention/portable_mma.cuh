// The matrix products of one warp of the portable attention kernel, and its output on the way to global
// memory. Accumulators lie as mma leaves them, see portable_softmax.cuh.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

#include "cuda/attention/portable_softmax.cuh"
#include "cuda/attention/portable_tile.cuh"
#include "cuda/attention/ptx_sm80.cuh"

namespace seer::cuda::portable {

template <typename S>
using Output = float[S::kRowTiles][S::kHeadDim / 8][4];
template <typename S>
using Probabilities = uint32_t[S::kRowTiles][S::kKeyTile / 16][4];

/// s = q k^T. `q` and `k` are this lane's ldmatrix addresses in the warp's queries and in the key tile.
template <typename S>
__device__ void multiply_queries_keys(Scores<S>& s, uint32_t q, uint32_t k) {
  using Layout = Swizzle<S::kHeadDim>;
#pragma unroll
  for (auto& row_tile : s) {
#pragma unroll
    for (auto& tile : row_tile) tile[0] = tile[1] = tile[2] = tile[3] = 0.0F;
  }
#pragma unroll
  for (int d = 0; d < S::kHeadDim; d += 16) {
    uint32_t a[S::kRowTiles][4];
#pragma unroll
    for (int r = 0; r < S::kRowTiles; ++r) {
      ldmatrix_x4(a[r], Layout::advance(q + r * 16 * S::kRowBytes, d));
    }
#pragma unroll
    for (int n = 0; n < S::kKeyTile / 16; ++n) {
      uint32_t b[4];
      ldmatrix_x4(b, Layout::advance(k + n * 16 * S::kRowBytes, d));
#pragma unroll
      for (int r = 0; r < S::kRowTiles; ++r) {
        mma_m16n8k16(s[r][2 * n], a[r], b[0], b[1]);
        mma_m16n8k16(s[r][2 * n + 1], a[r], b[2], b[3]);
      }
    }
  }
}

/// Rounds exponentials to bf16. What mma leaves as the halves of a result is what it takes as left operand.
template <typename S>
__device__ void round_probabilities(const Scores<S>& s, Probabilities<S>& p) {
#pragma unroll
  for (int r = 0; r < S::kRowTiles; ++r) {
#pragma unroll
    for (int k = 0; k < S::kKeyTile / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&tile)[4] = s[r][2 * k + i / 2];
        p[r][k][i] = pack_bf16(tile[i % 2 * 2], tile[i % 2 * 2 + 1]);
      }
    }
  }
}

/// o += p v. `v` is this lane's ldmatrix address in the value tile.
template <typename S>
__device__ void add_weighted_values(Output<S>& o, const Probabilities<S>& p, uint32_t v) {
  using Layout = Swizzle<S::kHeadDim>;
#pragma unroll
  for (int k = 0; k < S::kKeyTile / 16; ++k) {
#pragma unroll
    for (int d = 0; d < S::kHeadDim; d += 16) {
      uint32_t b[4];
      ldmatrix_x4_transposed(b, Layout::advance(v + k * 16 * S::kRowBytes, d));
#pragma unroll
      for (int r = 0; r < S::kRowTiles; ++r) {
        mma_m16n8k16(o[r][d / 8], p[r][k], b[0], b[1]);
        mma_m16n8k16(o[r][d / 8 + 1], p[r][k], b[2], b[3]);
      }
    }
  }
}

template <typename S>
__device__ void scale_rows(Output<S>& o, const float (&factor)[S::kRows]) {
#pragma unroll
  for (int r = 0; r < S::kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < S::kHeadDim / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[r][n][e] *= factor[2 * r + e / 2];
    }
  }
}

/// Writes the warp's rows of o, `present` of them, by way of the shared memory of its queries: 16 bytes a
/// lane.
template <typename S>
__device__ void write_output(const Output<S>& o, unsigned char* staging, __nv_bfloat16* to, int64_t stride,
                             int present) {
  using Layout = Swizzle<S::kHeadDim>;
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
    for (int n = 0; n < S::kHeadDim / 8; ++n) {
      const float(&tile)[4] = o[i / 2][n];
      *reinterpret_cast<uint32_t*>(staging + Layout::offset(8 * i + lane / 4, n) + lane % 4 * 4) =
          pack_bf16(tile[i % 2 * 2], tile[i % 2 * 2 + 1]);
    }
  }
  __syncwarp();
#pragma unroll
  for (int first = 0; first < S::kWarpRows * Layout::kChunks; first += kWarpSize) {
    const int row = (first + lane) / Layout::kChunks;
    const int chunk = (first + lane) % Layout::kChunks;
    if (row < present) {
      *reinterpret_cast<uint4*>(to + row * stride + chunk * 8) =
          *reinterpret_cast<const uint4*>(staging + Layout::offset(row, chunk));
    }
  }
}

}  // namespace seer::cuda::portable
