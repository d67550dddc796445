#include "src/ops/sparse_args.h"

#include <algorithm>
#include <cmath>

#include "src/core/error.h"

namespace seer {

int64_t blocks_a_row(SelectBy by, double value, int64_t blocks, int64_t block_size) {
  switch (by) {
    case SelectBy::kNzRatio:
      return std::max<int64_t>(
          1, static_cast<int64_t>((1.0 - std::sqrt(1.0 - value)) * static_cast<double>(blocks)));
    case SelectBy::kTokenBudget:
      return std::max<int64_t>(1, static_cast<int64_t>(value) / block_size);
    default:
      fail("this rule keeps no fixed number of blocks");
  }
}

}  // namespace seer
