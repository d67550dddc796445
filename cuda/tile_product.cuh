// One tile of a matrix product in plain fp32 (no tensor cores: gates learn in fp32), from operands in any
// orientation: C[m, n] += sum over k of A[m, k] B[k, n].
//
// A group of 128 threads computes 64 x 64 elements, each thread 8 x 4 of them; 16 terms at a time wait in shared
// memory (8.5 KB a group), and those of the next step are on their way in registers meanwhile. Where few tiles have
// long sums, several groups share a tile: each takes every kGroups-th step, then their sums are added pairwise in an
// order that is always the same.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/device_code.cuh"

namespace seer::cuda {

constexpr int kTile = 64;
constexpr int kTileThreads = 128;                            ///< Of a group
constexpr int kTileDepth = 16;                               ///< Terms of a step
constexpr int kTileElements = kTile * kTile / kTileThreads;  ///< Of a thread

/// The axis of an operand along which elements are neighbours in memory.
enum class Axis { kRows, kDepth };

/// Element (i, k) of an operand lies at data[i * stride + k], or at data[i + k * stride] with kContiguous = kRows.
/// Elements outside `rows` x `depth` read as 0.
template <typename T, Axis kContiguous>
struct Operand {
  const T* data;
  int64_t stride;
  int64_t rows, depth;
};

/// An operand of which only those elements count whose choice (an array laid out like `data`) is `chosen`; others read as 0.
template <typename T, Axis kContiguous>
struct ChosenOperand : Operand<T, kContiguous> {
  const uint8_t* choice;
  int chosen;
};

/// A thread's share of an operand's tile, step by step. Neighbouring threads read neighbouring addresses.
template <typename OperandType, int kGroups>
class TileReader;

template <template <typename, Axis> typename OperandType, typename T, Axis kContiguous, int kGroups>
class TileReader<OperandType<T, kContiguous>, kGroups> {
  static constexpr bool kChosen = std::is_same_v<OperandType<T, kContiguous>, ChosenOperand<T, kContiguous>>;

 public:
  static constexpr int kLoads = kTile * kTileDepth / kTileThreads;

  __device__ TileReader(const OperandType<T, kContiguous>& operand, int64_t i0, int64_t k0) {
    const auto thread = static_cast<int>(threadIdx.x % kTileThreads);
    i_ = kByDepth ? thread / kTileDepth : thread % kTile;
    k_ = kByDepth ? thread % kTileDepth : thread / kTile;
    const int64_t i = i0 + i_;
    const int64_t k = k0 + k_;
    const int64_t first = kByDepth ? i * operand.stride + k : i + k * operand.stride;
    from_ = operand.data + first;
    if constexpr (kChosen) {
      choice_ = operand.choice + first;
      chosen_ = operand.chosen;
    }
    stride_ = operand.stride;
    rows_ = static_cast<int>(min(operand.rows - i, int64_t{kTile}));
    depth_ = operand.depth - k;
  }

  /// Reads the thread's elements of this step's tile and goes on to the next step.
  __device__ void fetch(float (&values)[kLoads]) {
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const bool inside = n * kRowStep < rows_ && n * kDepthStep < depth_;
      const int64_t at = n * (kRowStep + kDepthStep) * stride_;
      values[n] = inside ? to_float(from_[at]) : 0.0F;
      if constexpr (kChosen) values[n] = inside && choice_[at] == chosen_ ? values[n] : 0.0F;
    }
    const int64_t step = kTileDepth * kGroups * (kByDepth ? 1 : stride_);
    from_ += step;
    if constexpr (kChosen) choice_ += step;
    depth_ -= kTileDepth * kGroups;
  }

  __device__ void keep(const float (&values)[kLoads], float (*tile)[kTile + 4]) const {
#pragma unroll
    for (int n = 0; n < kLoads; ++n) tile[k_ + n * kDepthStep][i_ + n * kRowStep] = values[n];
  }

 private:
  static constexpr bool kByDepth = kContiguous == Axis::kDepth;
  // From a thread's element to its next, along the axis that is not contiguous.
  static constexpr int kRowStep = kByDepth ? kTileThreads / kTileDepth : 0;
  static constexpr int kDepthStep = kByDepth ? 0 : kTileThreads / kTile;

  int i_, k_;  ///< Of the first element, in the tile
  const T* from_;
  const uint8_t* choice_ = nullptr;
  int chosen_ = 0;
  int64_t stride_;
  int rows_;       ///< From it to the operand's end, no more than matter
  int64_t depth_;  ///< From it to the operand's end
};

template <int kGroups = 1>
class TileProduct {
 public:
  static constexpr int kThreads = kGroups * kTileThreads;  ///< Of the thread block

  /// Adds sum over k in [0, depth) for the tile whose first row of A is i0 and of B (column of C) j0. Both
  /// operands must have the same depth.
  template <typename OperandA, typename OperandB>
  __device__ void add(const OperandA& a, int64_t i0, const OperandB& b, int64_t j0) {
    Tile* tile_a = reinterpret_cast<Tile*>(storage()) + 2 * group() * kTileDepth;
    Tile* tile_b = tile_a + kTileDepth;
    const int64_t first = group() * kTileDepth;
    TileReader<OperandA, kGroups> reader_a(a, i0, first);
    TileReader<OperandB, kGroups> reader_b(b, j0, first);
    float next_a[kLoads];
    float next_b[kLoads];
    reader_a.fetch(next_a);
    reader_b.fetch(next_b);
    for (int64_t k0 = 0; k0 < a.depth;
         k0 += kTileDepth * kGroups) {  // as often for every group: zeros follow the end
      __syncthreads();
      reader_a.keep(next_a, tile_a);
      reader_b.keep(next_b, tile_b);
      __syncthreads();
      reader_a.fetch(next_a);
      reader_b.fetch(next_b);
#pragma unroll
      for (int k = 0; k < kTileDepth; ++k) {
        const auto upper = load<float, 4>(&tile_a[k][row(0)]);
        const auto lower = load<float, 4>(&tile_a[k][row(4)]);
        const auto right = load<float, 4>(&tile_b[k][column(0)]);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float left = r < 4 ? upper.values[r % 4] : lower.values[r % 4];
#pragma unroll
          for (int c = 0; c < kColumns; ++c) sum_[r][c] += left * right.values[c];
        }
      }
    }
  }

  /// After the last add(): calls function(row, column, value) for this thread's elements, relative to the tile.
  template <typename Function>
  __device__ void for_each(Function&& function) {
    if constexpr (kGroups > 1) {
      add_groups();
      if (group() > 0) return;
    }
    int n = 0;
    for_each_place([&](int r, int c) {
      function(r, c, sum_[n / kColumns][n % kColumns]);
      ++n;
    });
  }

  /// Calls function(row, column) for the same elements in the same order.
  template <typename Function>
  __device__ static void for_each_place(Function&& function) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) function(row(r), column(c));
    }
  }

 private:
  static constexpr int kRows = 8;
  static constexpr int kColumns = 4;
  static constexpr int kLoads = kTile * kTileDepth / kTileThreads;
  using Tile = float[kTile + 4];  ///< One k of a tile; padded, rows stay aligned to 16 bytes

  /// Tiles of A and B for every group; sums of half the groups fit as well.
  __device__ static float* storage() {
    __shared__ alignas(16) float memory[kGroups * 2 * kTileDepth * (kTile + 4)];
    static_assert(kGroups * 2 * kTileDepth * (kTile + 4) >= kGroups / 2 * kTile * kTile);
    return memory;
  }

  __device__ static int group() {
    return kGroups == 1 ? 0 : static_cast<int>(threadIdx.x) / kTileThreads;
  }
  // Threads 16 apart hold neighbouring groups of 8 rows; neighbouring threads neighbouring groups of 4 columns.
  __device__ static int row(int r) {
    return static_cast<int>(threadIdx.x) % kTileThreads / 16 * kRows + r;
  }
  __device__ static int column(int c) {
    return static_cast<int>(threadIdx.x) % 16 * kColumns + c;
  }

  /// Group 0 is left with the sums of all.
  __device__ void add_groups() {
    const auto thread = static_cast<int>(threadIdx.x) % kTileThreads;
#pragma unroll
    for (int half = kGroups / 2; half > 0; half /= 2) {
      __syncthreads();  // tiles, or the last round's sums, have been read
      float* slot = storage() + group() % half * kTile * kTile + thread;
      if (group() >= half && group() < 2 * half) {
#pragma unroll
        for (int n = 0; n < kRows * kColumns; ++n) slot[n * kTileThreads] = sum_[n / kColumns][n % kColumns];
      }
      __syncthreads();
      if (group() < half) {
#pragma unroll
        for (int n = 0; n < kRows * kColumns; ++n) sum_[n / kColumns][n % kColumns] += slot[n * kTileThreads];
      }
    }
  }

  float sum_[kRows][kColumns] = {};
};

}  // namespace seer::cuda
