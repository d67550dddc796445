// Lists of kept blocks on the host and on a device.
#pragma once

#include "src/ops/sparse_args.h"
#include "tests/ops/device.h"
#include "tests/ops/packs.h"

namespace seer::test {

/// The blocks that every row of the prefill score matrices of some heads keeps, ascending.
class KeptBlocks {
 public:
  KeptBlocks(std::vector<Matrix> matrices, int64_t heads);

  const std::vector<Matrix>& matrices() const { return matrices_; }
  int64_t heads() const { return heads_; }

  std::vector<int64_t>& row(const Matrix& m, int64_t head, int64_t i) {
    return lists_[head * rows_ + m.query_row + i];
  }
  const std::vector<int64_t>& row(const Matrix& m, int64_t head, int64_t i) const {
    return lists_[head * rows_ + m.query_row + i];
  }

  Values counts() const;  ///< [heads, rows]
  Values blocks() const;  ///< All rows' blocks, one list after the other

  /// As BlockLists::blocks holds them; what the lists do not define is no block number.
  Values padded_blocks() const;

  BlockLists upload(Device& device) const;
  static BlockLists output(Device& device, const std::vector<Matrix>& matrices, int64_t heads);
  /// Fails if a count is not one.
  static KeptBlocks download(Device& device, const BlockLists& lists, std::vector<Matrix> matrices,
                             int64_t heads);

  /// Every visible block is kept with probability `share`, which makes rows that keep nothing among the first.
  static KeptBlocks random(uint64_t seed, const std::vector<Matrix>& matrices, int64_t heads, double share);

 private:
  std::vector<Matrix> matrices_;
  int64_t heads_;
  int64_t rows_;
  std::vector<std::vector<int64_t>> lists_;  // [heads, rows]
};

}  // namespace seer::test
