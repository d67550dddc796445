// The matrix products of one warp of the portable attention kernel, and its output on the way to global
// memory. Accumulators lie as mma leaves them, see portable_softmax.cuh.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

#include "cuda/attention/portable_softmax.cuh"
#include "cuda/attention/portable_tile.cuh"
#include "cuda/attention/ptx_sm80.cuh"

namespace seer::cuda::portable {

template <int kHeadDim>
using Output = float[Shape<kHeadDim>::kRowTiles][kHeadDim / 8][4];
template <int kHeadDim>
using Probabilities = uint32_t[Shape<kHeadDim>::kRowTiles][Shape<kHeadDim>::kKeyTile / 16][4];

/// s = q k^T. `q` and `k` are this lane's ldmatrix addresses in the warp's queries and in the key tile.
template <int kHeadDim>
__device__ void multiply_queries_keys(Scores<kHeadDim>& s, uint32_t q, uint32_t k) {
  using S = Shape<kHeadDim>;
  using Layout = Swizzle<kHeadDim>;
#pragma unroll
  for (auto& row_tile : s) {
#pragma unroll
    for (auto& tile : row_tile) tile[0] = tile[1] = tile[2] = tile[3] = 0.0F;
  }
#pragma unroll
  for (int d = 0; d < kHeadDim; d += 16) {
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
template <int kHeadDim>
__device__ void round_probabilities(const Scores<kHeadDim>& s, Probabilities<kHeadDim>& p) {
#pragma unroll
  for (int r = 0; r < Shape<kHeadDim>::kRowTiles; ++r) {
#pragma unroll
    for (int k = 0; k < Shape<kHeadDim>::kKeyTile / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&tile)[4] = s[r][2 * k + i / 2];
        p[r][k][i] = pack_bf16(tile[i % 2 * 2], tile[i % 2 * 2 + 1]);
      }
    }
  }
}

/// o += p v. `v` is this lane's ldmatrix address in the value tile.
template <int kHeadDim>
__device__ void add_weighted_values(Output<kHeadDim>& o, const Probabilities<kHeadDim>& p, uint32_t v) {
  using S = Shape<kHeadDim>;
  using Layout = Swizzle<kHeadDim>;
#pragma unroll
  for (int k = 0; k < S::kKeyTile / 16; ++k) {
#pragma unroll
    for (int d = 0; d < kHeadDim; d += 16) {
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

template <int kHeadDim>
__device__ void scale_rows(Output<kHeadDim>& o, const float (&factor)[Shape<kHeadDim>::kRows]) {
#pragma unroll
  for (int r = 0; r < Shape<kHeadDim>::kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[r][n][e] *= factor[2 * r + e / 2];
    }
  }
}

/// Writes the warp's rows of o, `present` of them, by way of the shared memory of its queries: 16 bytes a
/// lane.
template <int kHeadDim>
__device__ void write_output(const Output<kHeadDim>& o, unsigned char* staging, __nv_bfloat16* to,
                             int64_t stride, int present) {
  using S = Shape<kHeadDim>;
  using Layout = Swizzle<kHeadDim>;
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
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
