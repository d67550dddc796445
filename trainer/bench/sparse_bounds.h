// What block-sparse attention is held against, beside dense attention:
//
//   density x dense  the price of a perfect sparse kernel
//   matrix floor     the kept blocks' FLOPs at the rate of a large product of cuBLASLt's
//   L2 floor         the kept blocks' K and V, every head's for itself, at the rate of tile reads from a working set of one
//                    kv head's K and V; where all query heads of a group keep the same blocks, once for those of three that
//                    follow each other, as the Hopper kernel shares them: half of it for groups of four
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cuda/bench/timing.h"

namespace seer {

/// What the device reaches, for sequences of one length.
struct SparseRulers {
  double product_tflops = 0;
  double tile_read_gb_per_s = 0;
};
SparseRulers measure_rulers(cuda::GpuTimer& timer, int64_t tokens, int64_t head_dim);

/// One sparse attention, or the sum of several.
struct SparseShare {
  double density = 0;   ///< Kept blocks / visible blocks
  double kept = 0;      ///< Blocks, of all rows and heads
  int64_t sharers = 1;  ///< Query heads that keep the same blocks
  int64_t block_size = 0;
  int64_t head_dim = 0;
  double dense_ms = 0;
};

class SparseBounds {
 public:
  SparseBounds(const SparseShare& share, const SparseRulers& rulers);

  /// Of a report's row, for a sparse attention that took `ms`.
  nlohmann::ordered_json figures(double ms) const;

  /// Of a table's row, under the last of with_bounds().
  std::vector<std::string> cells(double ms) const;
  /// A table's headers: those in front, then ours.
  static std::vector<std::string> with_bounds(std::vector<std::string> headers);

 private:
  SparseRulers rulers_;
  double density_;
  double share_ms_;
  double matrix_ms_;
  double l2_ms_;
  double floor_ms_;
};

}  // namespace seer
