// Softmax and block maxima of one consumer warp of the Hopper attention kernel, on wgmma's accumulator
// layout. hopper.cu has the overview.
//
// A consumer's s is [64 rows, 128 keys], in sparse attention [64, 64]; its warp w holds rows 16 w .. 16 w + 15. Lane l has two of them, l /
// 4 and l / 4 + 8, and of each the columns 8 f + 2 (l % 4) + {0, 1}: s[4 f + 2 r + e] is row r of the two,
// fragment f, element e. A row lies in the four lanes of a quad.
#pragma once

#include "cuda/attention/hopper_roles.cuh"

namespace seer::cuda::hopper {

constexpr int kScores = kConsumerRows * kKeyTile / kGroupThreads;  ///< Of a tile, for each thread

struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// Elementwise maximum of `count` values over aligned groups of `lanes` lanes. Lane x of a group ends up with
/// elements x * count / lanes and following, first in `values`; where lanes outnumber values, neighbours
/// share one. Each round hands half of what is left to the partner: count - 1 shuffles and then some, not
/// count * log2(lanes).
template <int lanes, int count, typename Op, int size>
__device__ void reduce_scatter(float (&values)[size], Op op) {
  static_assert(count <= size);
  if constexpr (lanes > 1) {
    constexpr int kOffset = lanes / 2;
    if constexpr (count == 1) {
      values[0] = op(values[0], __shfl_xor_sync(kWholeWarp, values[0], kOffset));
    } else {
      const bool upper = (threadIdx.x & kOffset) != 0;
#pragma unroll
      for (int i = 0; i < count / 2; ++i) {
        const float give = upper ? values[i] : values[i + count / 2];
        const float keep = upper ? values[i + count / 2] : values[i];
        values[i] = op(keep, __shfl_xor_sync(kWholeWarp, give, kOffset));
      }
    }
    reduce_scatter<kOffset, (count > 1 ? count / 2 : 1)>(values, op);
  }
}

/// Of one key tile: the maximum of each row over each of kPieces pieces of its keys. After the reduction,
/// lanes 0, 1 of a quad hold row 0 and lanes 2, 3 row 1; of the row's pieces the even lane holds the first
/// half, the odd lane the second (a single piece both).
template <int kPieces>
struct PieceMaxima {
  static constexpr int kKept = kPieces == 1 ? 1 : kPieces / 2;  ///< Pieces a lane ends up with
  float values[2 * kPieces];                                    ///< [row][piece], then [kKept]

  template <int kCount>
  __device__ explicit PieceMaxima(const float (&s)[kCount]) {
    constexpr int kFragments = kCount / 4 / kPieces;
    // All chains advance together: a maximum does not wait for the one just issued.
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
#pragma unroll
      for (int chain = 0; chain < 2 * kPieces; ++chain) {
        const float* pair = s + (chain % kPieces * kFragments + f) * 4 + chain / kPieces * 2;
        const float maximum = fmaxf(pair[0], pair[1]);
        values[chain] = f == 0 ? maximum : fmaxf(values[chain], maximum);
      }
    }
    reduce_scatter<4, 2 * kPieces>(values, Max{});
  }

  static __device__ int lane_row() {
    return (threadIdx.x >> 1) & 1;
  }
  static __device__ int lane_first_piece() {
    return kPieces == 1 ? 0 : (threadIdx.x & 1) * kKept;
  }

  /// Over all pieces the lane holds.
  __device__ float lane_maximum() const {
    float maximum = values[0];
#pragma unroll
    for (int i = 1; i < kKept; ++i) maximum = fmaxf(maximum, values[i]);
    return maximum;
  }
};

/// Of one key tile: the maxima of the lane's own scores, by row. If a row's maximum exceeds its reference, that of one of its
/// four lanes does: no shuffles are needed to know that none does.
struct LaneMaxima {
  float values[2];

  template <int kCount>
  __device__ explicit LaneMaxima(const float (&s)[kCount]) {
#pragma unroll
    for (int f = 0; f < kCount / 4; ++f) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const float maximum = fmaxf(s[4 * f + 2 * row], s[4 * f + 2 * row + 1]);
        values[row] = f == 0 ? maximum : fmaxf(values[row], maximum);
      }
    }
  }
};

/// The online softmax of a lane's two rows. Exponents are taken relative to a reference that follows the
/// running maximum lazily: it is raised only when a score would exceed it by a factor of 2^8, which after the
/// first tile is rare. Sums and o share the reference, so it cancels; p <= 2^8 is no less precise in bf16
/// than p <= 1.
struct Softmax {
  static constexpr float kSlack = 8.0F;

  float scale;         ///< log2(e) / sqrt(D)
  float reference[2];  ///< log2 domain
  float slack;         ///< kSlack as a raw score, for PieceMaxima
  float limit;         ///< Raw maxima above it raise the reference; of the row whose pieces the lane holds
  float sum[2];        ///< This lane's part
  float alpha[2];      ///< What a raise multiplies sums and o by

  __device__ explicit Softmax(float scale_log2)
      : scale(scale_log2), slack(kSlack / scale_log2), limit(kMinusInfinity) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      reference[row] = kMinusInfinity;
      sum[row] = 0.0F;
    }
  }

  /// Raises the references if any row of the warp needs it; true: o must be multiplied by alpha. NaN raises
  /// nothing, it reaches the sums through exponentiate().
  template <int kPieces>
  __device__ bool raise(const PieceMaxima<kPieces>& maxima) {
    float maximum = maxima.lane_maximum();
    if (!__any_sync(kWholeWarp, maximum > limit)) return false;
    if constexpr (kPieces > 1) maximum = fmaxf(maximum, __shfl_xor_sync(kWholeWarp, maximum, 1));
    // Only rows that need it: another row of the warp, which may be of another sequence, changes no bit of this one.
    if (maximum > limit) {
      limit = maximum + slack;
    } else {
      maximum = kMinusInfinity;
    }
    const int row = PieceMaxima<kPieces>::lane_row();
    const float other = __shfl_xor_sync(kWholeWarp, maximum, 2);
    raise_row(0, row == 0 ? maximum : other);
    raise_row(1, row == 1 ? maximum : other);
    return true;
  }

  /// The same for tiles whose row maxima are of no other use.
  __device__ bool raise(const LaneMaxima& maxima) {
    const auto exceeds = [&](int row, float maximum) {
      return fmaf(maximum, scale, -reference[row]) > kSlack;
    };
    if (!__any_sync(kWholeWarp, exceeds(0, maxima.values[0]) || exceeds(1, maxima.values[1]))) return false;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float maximum = maxima.values[row];
#pragma unroll
      for (int lanes = 1; lanes < 4; lanes *= 2)
        maximum = fmaxf(maximum, __shfl_xor_sync(kWholeWarp, maximum, lanes));
      raise_row(row, exceeds(row, maximum) ? maximum : kMinusInfinity);
    }
    return true;
  }

  /// s = 2^(s * scale - reference), added to the sums: the tile's own first, so that small terms of a row of a hundred
  /// thousand keys are not lost one by one in a large sum.
  template <int kCount>
  __device__ void exponentiate(float (&s)[kCount]) {
    float of_tile[2] = {0.0F, 0.0F};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = i / 2 % 2;
      s[i] = exp2_approx(fmaf(s[i], scale, -reference[row]));
      of_tile[row] += s[i];
    }
    sum[0] += of_tile[0];
    sum[1] += of_tile[1];
  }

  /// Exponentials up to here are computed before products are waited for. All warps of a group must wait at the same place,
  /// so not inside of `if (raised)`, and ptxas moves a wait up past exponentials unless a branch that depends on them stands
  /// between; this one is never taken.
  __device__ void before_wait() const {
    if (sum[0] + sum[1] < 0.0F) __trap();
  }

  /// After the last tile: sums over whole rows.
  __device__ void finish() {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      sum[row] += __shfl_xor_sync(kWholeWarp, sum[row], 1);
      sum[row] += __shfl_xor_sync(kWholeWarp, sum[row], 2);
    }
  }

  /// log2 of the row's sum of 2^score.
  __device__ float logsumexp(int row) const {
    return reference[row] + log2f(sum[row]);
  }

 private:
  __device__ void raise_row(int row, float maximum) {
    const float raised = fmaxf(reference[row], maximum * scale);
    alpha[row] = exp2_approx(reference[row] - raised);
    reference[row] = raised;
    sum[row] *= alpha[row];
  }
};

/// s = -inf where a key lies after its query: `ahead` is the position of the lane's first row minus that of
/// the tile's first key.
template <int kCount>
__device__ void mask_causal(float (&s)[kCount], int ahead) {
  const int last_seen = ahead - 2 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i / 4 * 8 + i % 2 > last_seen + i / 2 % 2 * 8) s[i] = kMinusInfinity;
  }
}

/// Block maxima of finished rows: scratch [key block][kQueryTile] holds the raw maxima of every row,
/// shared.logsumexp their logsumexp; both must be visible. Called by kWarps warps, which compute the query
/// blocks among rows [first_row, first_row + 64) (all 128 rows for block size 128). Each warp reads 16 float4
/// a lane at a time, so that the latency of L2 is paid once for 32 key blocks.
template <int kBlockSize, int kWarps>
__device__ void write_block_maxima(const float* scratch, const float* logsumexp, const Work& work,
                                   float scale, int first_row, int warp) {
  constexpr float kLn2 = 0.693147180559945F;
  constexpr int kRowLanes = kBlockSize == 128 ? 32 : 16;  // that read one key block, 4 rows each
  constexpr int kBatch = 16;                              // key blocks a lane has in flight
  constexpr int kColumns = kBatch * 32 / kRowLanes;
  constexpr int kBlockLanes = kBlockSize / 4;  // that share a query block
  constexpr int kKept = kBatch >= kBlockLanes ? kBatch / kBlockLanes : 1;
  constexpr int kSharers =
      kBatch >= kBlockLanes ? 1 : kBlockLanes / kBatch;  // lanes that end up with the same

  const int lane = threadIdx.x % 32;
  const int row = first_row + lane % kRowLanes * 4;
  float shift[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) shift[i] = logsumexp[row + i];
  const int rows = work.rows - row;  // those after do not exist: whatever was computed must not count
  const int block = row / kBlockSize;
  const int diagonal = work.position / kBlockSize + block;
  const int visible = (work.position + work.rows - 1) / kBlockSize + 1;
  const int columns = work.block_columns;
  float* out = work.maxima + static_cast<int64_t>(block) * columns;
  const bool writes = block < work.block_rows && lane % kSharers == 0;

  for (int base = warp * kColumns; base < columns; base += kWarps * kColumns) {
    const int first = base + lane / kRowLanes * kBatch;
    float maxima[kBatch];
    if (base < visible) {
      float4 raw[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int column = min(first + i, visible - 1);
        raw[i] = __ldcg(
            reinterpret_cast<const float4*>(scratch + static_cast<int64_t>(column) * kQueryTile + row));
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const float x = rows > 0 ? fmaf(raw[i].x, scale, -shift[0]) : kMinusInfinity;
        const float y = rows > 1 ? fmaf(raw[i].y, scale, -shift[1]) : kMinusInfinity;
        const float z = rows > 2 ? fmaf(raw[i].z, scale, -shift[2]) : kMinusInfinity;
        const float w = rows > 3 ? fmaf(raw[i].w, scale, -shift[3]) : kMinusInfinity;
        maxima[i] = max_nan(max_nan(x, y), max_nan(z, w));
      }
      reduce_scatter<kBlockLanes, kBatch>(maxima, MaxNan{});
    }
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const int column = first + lane % kBlockLanes / kSharers * kKept + i;
      if (writes && column < columns) out[column] = column <= diagonal ? maxima[i] * kLn2 : kMinusInfinity;
    }
  }
}

}  // namespace seer::cuda::hopper
