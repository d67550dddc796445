// TMA: copies of boxes of a tensor into shared memory. They are carried out in any order, any time after they were
// asked for; until then their place holds NaN.
#pragma once

#include <cstdint>
#include <vector>

#include <cuda.h>

#include "src/core/rng.h"

namespace seer::emulation {

/// What a tensor map says: x [rows, heads, head_dim] bf16, rows `stride` elements apart, in boxes of one head,
/// `box_rows` rows and 64 columns.
struct TensorMap {
  const uint16_t* x;
  int64_t rows, heads, head_dim, stride;
  int32_t box_rows;
};

CUtensorMap encode(const TensorMap& map);

class TensorCopies {
 public:
  void start(void* to, const CUtensorMap& map, int32_t column, int32_t head, int32_t row, uint64_t& barrier);
  bool any() const { return !on_their_way_.empty(); }
  /// Carries out one of them.
  void finish_one(Rng& random);

 private:
  struct Copy {
    uint32_t to;
    TensorMap from;
    int32_t column, head, row;
    uint64_t* barrier;
    bool swizzled;
  };
  std::vector<Copy> on_their_way_;
};

}  // namespace seer::emulation
