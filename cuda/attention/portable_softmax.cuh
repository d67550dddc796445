// The online softmax of the portable attention kernel and the block maxima that fall out of it.
//
// Scores lie as mma leaves them: of row 8 i + lane / 4 of the warp, i < kRows, a thread has columns
// 8 n + 2 (lane % 4) and the next of every mma tile n. The four lanes of a quad share their rows.
//
// Every maximum is max_nan: a NaN in q or k makes the row's sum NaN, and with it each of the row's entries.
#pragma once

#include <cstdint>

#include "cuda/attention/attention.h"
#include "cuda/attention/portable_tile.cuh"
#include "cuda/attention/ptx_sm80.cuh"

namespace seer::cuda::portable {

constexpr float kLn2 = 0.693147180559945309F;

template <typename S>
using Scores = float[S::kRowTiles][S::kKeyTile / 8][4];

/// Reduces kCount values over each kLanes neighbouring lanes: lane l is left with the maximum of values[l %
/// kCount] in values[0]. Lanes exchange halves, so it takes kCount - 1 shuffles where kCount = kLanes.
template <int kLanes, int kCount>
__device__ void transposed_max(float* values) {
  if constexpr (kLanes > 1) {
    constexpr int kDistance = kLanes / 2;
    constexpr int kKept = kCount < kLanes ? kCount : kDistance;
    const bool upper = kCount == kLanes && (threadIdx.x & kDistance) != 0;
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const float mine = upper ? values[i + kDistance] : values[i];
      const float others = kCount < kLanes || upper ? values[i] : values[i + kDistance];
      values[i] = max_nan(mine, __shfl_xor_sync(kAllLanes, others, kDistance));
    }
    transposed_max<kDistance, kKept>(values);
  }
}

/// Hides the keys after each row's own position. `position` is that of the warp's first row, `key` that of
/// the tile's first column.
template <typename S>
__device__ void mask_future(Scores<S>& s, int position, int key) {
  const int lane = threadIdx.x % kWarpSize;
  const int last = position + lane / 4 - key - 2 * (lane % 4);  // of row 0, counted from this lane's column 0
#pragma unroll
  for (int r = 0; r < S::kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < S::kKeyTile / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (8 * n + e % 2 > last + 16 * r + 8 * (e / 2)) s[r][n][e] = kMinusInfinity;
      }
    }
  }
}

/// Which block maxima a kernel keeps.
enum class Maxima {
  kNone,
  kOfPieces,  ///< Blocks smaller than a key tile
  kOfTiles,   ///< Blocks of one or more key tiles
};

/// Where a thread block keeps the maxima of its rows over every key block until the rows' logsumexp is known:
/// [key block][kQueryTile] raw scores. Blocks come in order, so that no index is ever computed.
template <typename S, Maxima kMaxima>
class BlockMaxima {
 public:
  /// `scratch` points at this warp's rows; the rows see `keys` keys.
  __device__ BlockMaxima(float* scratch, int block_size, int keys)
      : next_(scratch + 8 * (threadIdx.x % 4) + threadIdx.x % kWarpSize / 4),
        block_size_(block_size),
        keys_(keys) {}

  /// maxima[i] = this thread's maximum of row i over the tile whose first key is `key`. On the way those of
  /// pieces are stored.
  __device__ void take(const Scores<S>& s, int key, float (&maxima)[S::kRows]) {
    if constexpr (kMaxima != Maxima::kOfPieces) {
      take_pieces<S::kKeyTile>(s, key, maxima);
    } else if (S::kKeyTile == 32 || block_size_ == 16) {
      take_pieces<16>(s, key, maxima);
    } else {
      take_pieces<32>(s, key, maxima);
    }
  }

  /// Stores those of tiles, once the quads have agreed on the tile's maxima.
  __device__ void take_tile(const float (&maxima)[S::kRows], int key) {
    if constexpr (kMaxima != Maxima::kOfTiles) return;
    const int quad_lane = threadIdx.x % 4;
    float mine = maxima[0];
#pragma unroll
    for (int i = 1; i < S::kRows; ++i) mine = quad_lane == i ? maxima[i] : mine;
    block_maximum_ = max_nan(block_maximum_, mine);
    const int end = key + S::kKeyTile;
    if ((end & (block_size_ - 1)) != 0 && end < keys_) return;
    store(block_maximum_);
    block_maximum_ = kMinusInfinity;
  }

 private:
  template <int kPiece>
  __device__ void take_pieces(const Scores<S>& s, int key, float (&maxima)[S::kRows]) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) maxima[i] = kMinusInfinity;
#pragma unroll
    for (int first = 0; first < S::kKeyTile; first += kPiece) {
      float piece[S::kRows];
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) {
        piece[i] = kMinusInfinity;
#pragma unroll
        for (int n = first / 8; n < (first + kPiece) / 8; ++n) {
          const float(&tile)[4] = s[i / 2][n];
          piece[i] = max_nan(piece[i], max_nan(tile[i % 2 * 2], tile[i % 2 * 2 + 1]));
        }
        maxima[i] = max_nan(maxima[i], piece[i]);
      }
      if constexpr (kPiece < S::kKeyTile) {
        transposed_max<4, S::kRows>(piece);
        if (key + first < keys_) store(piece[0]);  // scratch ends with the sequence
      }
    }
  }

  /// Lane 4 g + i has row 8 i + g: together one line of 128 bytes where a thread holds four rows.
  __device__ void store(float maximum) {
    if (threadIdx.x % 4 < S::kRows) __stcg(next_, maximum);
    next_ += kQueryTile;
  }

  float* next_;  ///< Of this lane's row
  int block_size_;
  int keys_;
  float block_maximum_ = kMinusInfinity;  ///< So far, of the row that this lane stores
};

/// A row's softmax is exp2(scale * s - maximum) / 2^log2_sum.
struct RowState {
  float maximum;
  float log2_sum;
};

/// Running maximum and sum of a thread's rows, in the log2 domain. Maxima are kept as rounded after scaling,
/// so that exponentials, rescaling and logsumexp all mean the same number by them.
template <typename S>
class OnlineSoftmax {
 public:
  __device__ explicit OnlineSoftmax(float scale) : scale_(scale) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      maximum_[i] = kMinusInfinity;
      sum_[i] = 0.0F;
    }
  }

  /// Raises the maxima to the tile's; factor[i] is what row i's sum so far was, and its output has to be,
  /// multiplied with. True if any factor of the warp is not 1.
  __device__ bool raise(const float (&tile_maxima)[S::kRows], float (&factor)[S::kRows]) {
    bool changed = false;
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      const float raised = max_nan(maximum_[i], tile_maxima[i] * scale_);
      factor[i] = exp2_approx(maximum_[i] - raised);
      sum_[i] *= factor[i];
      maximum_[i] = raised;
      changed |= factor[i] != 1.0F;
    }
    return __any_sync(kAllLanes, changed);
  }

  /// s = exp2(scale * s - maximum), added to the sums: the tile's own first, so that small terms of a row of a
  /// hundred thousand keys are not lost one by one in a large sum.
  __device__ void exponentials(Scores<S>& s) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      float of_tile = 0.0F;
#pragma unroll
      for (int n = 0; n < S::kKeyTile / 8; ++n) {
#pragma unroll
        for (int e = i % 2 * 2; e < i % 2 * 2 + 2; ++e) {
          float& p = s[i / 2][n][e];
          p = exp2_approx(fmaf(p, scale_, -maximum_[i]));
          of_tile += p;
        }
      }
      sum_[i] += of_tile;
    }
  }

  /// The quads' shares of the sums put together. Afterwards sum() is the row's.
  __device__ void finish() {
#pragma unroll
    for (float& sum : sum_) {
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
    }
  }

  __device__ float sum(int i) const {
    return sum_[i];
  }
  __device__ RowState state(int i) const {
    return {maximum_[i], log2f(sum_[i])};
  }

 private:
  float scale_;
  float maximum_[S::kRows];
  float sum_[S::kRows];
};

/// Turns scratch into rows of block_log_max: for the query blocks of this tile and every key block, the
/// maximum over the block's rows of (scale * s - logsumexp). A group of kBlock / 4 lanes has the rows of one
/// query block, four each, and takes up to 16 key blocks at a time, so that what it writes is contiguous.
///
/// `matrix` points at the first of the tile's query blocks, rows `columns` elements apart; `rows` and
/// `position` are the tile's.
template <int kBlock, int kWarps>
__device__ void write_block_maxima(const float* scratch, const RowState* states, float scale, int rows,
                                   int position, float* matrix, int columns) {
  constexpr int kLanes = kBlock / 4;
  constexpr int kColumns = kLanes < 16 ? kLanes : 16;
  const int lane = threadIdx.x % kWarpSize;
  const int query_block = lane / kLanes;
  const int present = max(0, min(4, rows - 4 * lane));  // of this lane's rows
  const bool block_present = query_block * kBlock < rows;
  const int diagonal = block_present ? position / kBlock + query_block : -1;

  RowState state[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) state[i] = states[4 * lane + i];

  for (int first = threadIdx.x / kWarpSize * kColumns; first < columns; first += kWarps * kColumns) {
    float maxima[kColumns];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      maxima[j] = kMinusInfinity;
      if (first + j > diagonal) continue;
      const float4 raw = __ldcg(
          reinterpret_cast<const float4*>(scratch + static_cast<int64_t>(first + j) * kQueryTile + 4 * lane));
      const float row_raw[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float value = fmaf(row_raw[i], scale, -state[i].maximum) - state[i].log2_sum;
        if (i < present) maxima[j] = max_nan(maxima[j], value);
      }
    }
    transposed_max<kLanes, kColumns>(maxima);
    const int column = first + lane % kColumns;
    if (block_present && lane % kLanes < kColumns && column < columns) {
      matrix[static_cast<int64_t>(query_block) * columns + column] = maxima[0] * kLn2;
    }
  }
}

}  // namespace seer::cuda::portable
