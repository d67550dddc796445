// What consumer warp groups of the Hopper attention kernels do with tiles in shared memory: 64 rows of queries as
// wgmma's left operand, the two products, the output on its way to global memory. hopper.cu has the overview.
//
// Tiles of kRows rows lie in panels [D / 64][kRows][64] in TMA's 128-byte swizzle.
#pragma once

#include "cuda/attention/hopper_roles.cuh"

namespace seer::cuda::hopper {

template <int kRows>
constexpr uint32_t kPanelBytes = kRows* kPanel * sizeof(bf16);
constexpr uint32_t kGroupBytes = 8 * kPanel * sizeof(bf16);  // 8 rows: the swizzle's period

/// This warp's 16 rows of 64, which begin at `first_row` of a tile of kTileRows at `tile`, as wgmma's A operand: four
/// registers for each 16 columns.
template <int kHeadDim, int kTileRows>
__device__ void load_queries(uint32_t (&q)[kHeadDim / 4], uint32_t tile, int first_row) {
  const int lane = threadIdx.x % 32;
  const int row = first_row + threadIdx.x % kGroupThreads / 32 * 16 + lane % 16;
#pragma unroll
  for (int column = 0; column < kHeadDim; column += 16) {
    const int chunk = (column % kPanel / 8 + lane / 16) ^ (row % 8);  // of 16 bytes; the swizzle
    ldmatrix_x4(q + column / 4, tile + column / kPanel * kPanelBytes<kTileRows> + row * 128 + chunk * 16);
  }
}

/// s[64, kKeys] = q k^T, one committed group.
template <int kHeadDim, int kKeys>
__device__ void queue_scores(float (&s)[kKeys / 2], const uint32_t (&q)[kHeadDim / 4],
                             ptx::MatrixDescriptor k) {
  ptx::wgmma_fence();
#pragma unroll
  for (int column = 0; column < kHeadDim; column += 16) {
    const uint32_t offset = column / kPanel * kPanelBytes<kKeys> + column % kPanel * sizeof(bf16);
    if constexpr (kKeys == 128) {
      ptx::wgmma_m64n128k16(s, q + column / 4, k + offset, column > 0);
    } else {
      static_assert(kKeys == 64);
      ptx::wgmma_m64n64k16(s, q + column / 4, k + offset, column > 0);
    }
  }
  ptx::wgmma_commit();
}

/// The same for 64 keys, q's first columns from registers, the others from its tile [64, D] in shared memory.
template <int kHeadDim, int kHeldColumns>
__device__ void queue_scores(float (&s)[32], const uint32_t (&held)[kHeldColumns / 4],
                             ptx::MatrixDescriptor q, ptx::MatrixDescriptor k) {
  ptx::wgmma_fence();
#pragma unroll
  for (int column = 0; column < kHeadDim; column += 16) {
    const uint32_t offset = column / kPanel * kPanelBytes<64> + column % kPanel * sizeof(bf16);
    if (column < kHeldColumns) {
      ptx::wgmma_m64n64k16(s, held + column / 4, k + offset, column > 0);
    } else {
      ptx::wgmma_m64n64k16(s, q + offset, k + offset, column > 0);
    }
  }
  ptx::wgmma_commit();
}

/// o[64, D] += p v, one committed group.
template <int kHeadDim, int kKeys>
__device__ void queue_output(float (&o)[kHeadDim / 2], const uint32_t (&p)[kKeys / 4],
                             ptx::MatrixDescriptor v) {
  ptx::wgmma_fence();
#pragma unroll
  for (int key = 0; key < kKeys; key += 16) {
    const uint32_t offset = key * kPanel * sizeof(bf16);
    if constexpr (kHeadDim == 128) {
      ptx::wgmma_m64n128k16(o, p + key / 4, v + offset);
    } else {
      static_assert(kHeadDim == 64);
      ptx::wgmma_m64n64k16(o, p + key / 4, v + offset);
    }
  }
  ptx::wgmma_commit();
}

/// The lower lane's `b` changes places with the upper one's `a`.
__device__ inline void exchange(uint32_t& a, uint32_t& b, bool upper, int offset) {
  const uint32_t got = __shfl_xor_sync(kWholeWarp, upper ? a : b, offset);
  a = upper ? got : a;
  b = upper ? b : got;
}

/// Rows row and row + 8 of this lane, times `inverse`, where they are below `rows`; `to` is row 0's. Neighbours exchange
/// half of two fragments, so that a lane stores 8 contiguous bytes and a quad 32, a sector of L2. (16 bytes a lane take
/// twice the shuffles.)
template <int kHeadDim>
__device__ void store_output(bf16* to, int64_t stride, const float (&o)[kHeadDim / 2],
                             const float (&inverse)[2], int first_row, int rows) {
  const int lane = threadIdx.x % 32;
  const bool odd = (lane & 1) != 0;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const int tile_row = first_row + 8 * row;
    bf16* row_to = kept_pointer(to + tile_row * stride + (odd ? 8 : 0) + lane % 4 / 2 * 4);
#pragma unroll
    for (int first = 0; first < kHeadDim / 8; first += 2) {
      uint32_t words[2];  // fragment by fragment; then of one fragment, the odd lanes' the second
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float* pair = o + (first + i) * 4 + row * 2;
        words[i] = pack_bf16(pair[0] * inverse[row], pair[1] * inverse[row]);
      }
      exchange(words[0], words[1], odd, 1);
      if (tile_row < rows)  // __stcg: ptxas splits plain stores in places
        __stcg(reinterpret_cast<uint2*>(row_to + first * 8), make_uint2(words[0], words[1]));
    }
  }
}

}  // namespace seer::cuda::hopper
