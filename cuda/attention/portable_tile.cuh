// Tiles of the portable attention kernel: their shapes, how they lie in shared memory, how they get there.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

#include "cuda/attention/attention.h"
#include "cuda/attention/ptx_sm80.cuh"
#include "cuda/device_code.cuh"

namespace seer::cuda::portable {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffff;

/// Everything that follows from head_dim and the rows of queries that a thread block computes at a time; portable.cu
/// says why.
template <int kDim, int kTile = kQueryTile>
struct Shape {
  static constexpr int kHeadDim = kDim;
  static constexpr int kTileRows = kTile;
  static constexpr int kMostWarpRows = kHeadDim <= 128 ? 32 : 16;
  static constexpr int kWarpRows = kTileRows < kMostWarpRows ? kTileRows : kMostWarpRows;
  static constexpr int kWarps = kTileRows / kWarpRows;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kRowTiles = kWarpRows / 16;  ///< mma tiles of 16 rows in a warp
  static constexpr int kRows = 2 * kRowTiles;  ///< Rows a thread holds pieces of: 8 i + lane / 4, i < kRows
  static constexpr int kKeyTile = kHeadDim <= 128 ? 64 : 32;
  static constexpr int kStages = kHeadDim <= 128 ? 3 : 2;
  static constexpr int kBlocksPerSm = kHeadDim <= 32 ? 3 : kHeadDim <= 128 ? 2 : 1;

  static constexpr int kRowBytes = 2 * kHeadDim;
  static constexpr int kQueryBytes = kTileRows * kRowBytes;
  static constexpr int kStageBytes = kKeyTile * kRowBytes;
  static constexpr int kSharedBytes = kQueryBytes + kStages * kStageBytes;

  static_assert(kSharedBytes <= 99 * 1024 - 1024, "compute capability 8.6 and 8.9");
};

/// A tile in shared memory is [rows][kHeadDim] bf16 without padding; the 16-byte chunks of a row are
/// exchanged within groups of kPeriod so that the same chunk of eight consecutive rows, one matrix of
/// ldmatrix, covers all 32 banks.
template <int kHeadDim>
struct Swizzle {
  static constexpr int kChunks = kHeadDim / 8;
  static constexpr int kPeriod = kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  static constexpr uint32_t kPeriodBytes = 16 * kPeriod;
  static constexpr int kRowBytes = 2 * kHeadDim;

  /// Bytes from the beginning of the tile.
  __device__ static uint32_t offset(int row, int chunk) {
    return row * kRowBytes + (chunk ^ (row / (8 / kPeriod) % kPeriod)) * 16;
  }

  /// From the address of chunk 0 or 1 of a row to that of the chunk `columns` columns on, a multiple of 16.
  /// Exchanges are xors too, and chunks 0 and 1 have none of the bits that even chunk numbers bring, so one
  /// xor within the period and one addition of whole periods do.
  __device__ static uint32_t advance(uint32_t address, int columns) {
    const uint32_t bytes = 2 * columns;
    return (address ^ (bytes % kPeriodBytes)) + bytes / kPeriodBytes * kPeriodBytes;
  }
};

/// How the threads share the copying of a tile's rows: kPeriod of them side by side on a row, the same
/// chunks of every kPassRows-th row for each.
template <typename S>
struct TileCopy {
  using Layout = Swizzle<S::kHeadDim>;
  static constexpr int kPassRows = S::kThreads / Layout::kPeriod;

  __device__ static int first_row() { return threadIdx.x / Layout::kPeriod; }
  __device__ static int first_chunk() { return threadIdx.x % Layout::kPeriod; }

  /// Where in global memory this thread begins if the rows, `stride` elements apart, begin at `rows`.
  __device__ static const __nv_bfloat16* source(const __nv_bfloat16* rows, int64_t stride) {
    return rows + first_row() * stride + first_chunk() * 8;
  }

  /// Starts copying kRows rows into the tile, zeros in place of rows from `present` on.
  template <int kRows>
  __device__ static void start(uint32_t tile, const __nv_bfloat16* source, int64_t stride, int present) {
    static_assert(kRows % kPassRows == 0);
#pragma unroll
    for (int pass = 0; pass < kRows; pass += kPassRows) {
      start_row(tile, pass, source, first_row() + pass < present);
      source += kPassRows * stride;
    }
  }

  /// Starts copying this thread's chunks of row first_row() + pass, zeros if the row is not there.
  __device__ static void start_row(uint32_t tile, int pass, const __nv_bfloat16* source, bool present) {
    // Where passes are multiples of the swizzle's 8 rows, chunks of all of a thread's rows are exchanged alike.
    const uint32_t to = kPassRows % 8 == 0
                            ? tile + Layout::offset(first_row(), first_chunk()) + pass * Layout::kRowBytes
                            : tile + Layout::offset(first_row() + pass, first_chunk());
#pragma unroll
    for (int group = 0; group < Layout::kChunks; group += Layout::kPeriod) {
      cp_async_16(to + group * 16, source + group * 8, present ? 16 : 0);
    }
  }
};

/// Which key and value a tile's rows are: those of a sequence, one after the other.
template <typename S>
class SequenceKeys {
  using Copy = TileCopy<S>;

 public:
  /// `k` and `v` point at the first key of the sequence in the kv head's columns; keys from `keys` on are
  /// zeros.
  __device__ SequenceKeys(const __nv_bfloat16* k, int64_t k_stride, const __nv_bfloat16* v, int64_t v_stride,
                          int keys)
      : source_{Copy::source(k, k_stride), Copy::source(v, v_stride)},
        stride_{k_stride, v_stride},
        keys_(keys) {}

  /// Starts copying tile t of the keys (kind 0) or values (1) to `stage`.
  __device__ void start(int kind, int t, uint32_t stage) const {
    const int first = t * S::kKeyTile;
    if (first < keys_) {
      Copy::template start<S::kKeyTile>(stage, source_[kind] + first * stride_[kind], stride_[kind],
                                        keys_ - first);
    }
  }

 private:
  const __nv_bfloat16* source_[2];
  int64_t stride_[2];
  int keys_;
};

/// The key and value tiles of one query tile, streamed through a ring of shared-memory stages: K 0, V 0, K 1,
/// V 1, .. or, without values, K 0, K 1, ..
template <typename S, bool kValues, typename Keys = SequenceKeys<S>>
class KeyRing {
  static constexpr int kKinds = kValues ? 2 : 1;
  static constexpr int kAhead = S::kStages - 1;  ///< Tiles under way while one is used

 public:
  enum Kind { kKey = 0, kValue = 1 };

  __device__ KeyRing(uint32_t stages, const Keys& keys) : stages_(stages), keys_(keys) {}

  /// Starts the first kAhead tiles. The stages must be free.
  __device__ void start() {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) load(i % kKinds, i / kKinds, i);
  }

  /// The address of tile t of this kind, in the order above. Frees the tile before it: all threads call it.
  template <Kind kKind>
  __device__ uint32_t next(int t) {
    cp_async_wait<kAhead - 1>();
    __syncthreads();  // everybody's copies have arrived, and everybody is done with the previous tile
    constexpr int kNext = kKind + kAhead;
    load(kNext % kKinds, t + kNext / kKinds, stage_ == 0 ? S::kStages - 1 : stage_ - 1);
    const uint32_t address = stages_ + stage_ * S::kStageBytes;
    stage_ = stage_ == S::kStages - 1 ? 0 : stage_ + 1;
    return address;
  }

 private:
  __device__ void load(int kind, int t, int stage) {
    keys_.start(kind, t, stages_ + stage * S::kStageBytes);
    cp_async_commit();  // also without copies: next() counts groups
  }

  uint32_t stages_;
  Keys keys_;
  int stage_ = 0;  ///< Of the tile that next() returns
};

}  // namespace seer::cuda::portable
