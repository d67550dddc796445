#include "tests/ops/block_lists.h"

#include <limits>

#include "src/core/rng.h"

namespace seer::test {

KeptBlocks::KeptBlocks(std::vector<Matrix> matrices, int64_t heads)
    : matrices_(std::move(matrices)),
      heads_(heads),
      rows_(matrices_.back().query_row + matrices_.back().rows),
      lists_(heads * rows_) {}

Values KeptBlocks::counts() const {
  Values out;
  for (const auto& list : lists_) out.push_back(static_cast<double>(list.size()));
  return out;
}

Values KeptBlocks::blocks() const {
  Values out;
  for (const auto& list : lists_) out.insert(out.end(), list.begin(), list.end());
  return out;
}

BlockLists KeptBlocks::output(Device& device, const std::vector<Matrix>& matrices, int64_t heads) {
  const int64_t rows = matrices.back().query_row + matrices.back().rows;
  return {device.output(Shape{heads, rows}, DType::kI32),
          device.output(Shape{heads, elements_of(matrices)}, DType::kI32)};
}

Values KeptBlocks::padded_blocks() const {
  Values padded(heads_ * elements_of(matrices_), std::numeric_limits<int32_t>::min());
  for (const Matrix& m : matrices_) {
    for (int64_t h = 0; h < heads_; ++h) {
      for (int64_t i = 0; i < m.rows; ++i)
        std::ranges::copy(row(m, h, i), padded.begin() + m.offset(heads_, h, i));
    }
  }
  return padded;
}

BlockLists KeptBlocks::upload(Device& device) const {
  return {device.upload(Shape{heads_, rows_}, counts(), DType::kI32),
          device.upload(Shape{heads_, elements_of(matrices_)}, padded_blocks(), DType::kI32)};
}

KeptBlocks KeptBlocks::download(Device& device, const BlockLists& lists, std::vector<Matrix> matrices,
                                int64_t heads) {
  KeptBlocks out(std::move(matrices), heads);
  const Values counts = device.download(lists.counts);
  const Values blocks = device.download(lists.blocks);
  for (const Matrix& m : out.matrices_) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < m.rows; ++i) {
        const auto count = static_cast<int64_t>(counts[h * out.rows_ + m.query_row + i]);
        SEER_CHECK(count >= 0 && count <= m.blocks, "row {} of head {} keeps {} of {} blocks",
                   m.query_row + i, h, count, m.blocks);
        const auto first = blocks.begin() + m.offset(heads, h, i);
        out.row(m, h, i).assign(first, first + count);
      }
    }
  }
  return out;
}

KeptBlocks KeptBlocks::random(uint64_t seed, const std::vector<Matrix>& matrices, int64_t heads,
                              double share) {
  KeptBlocks out(matrices, heads);
  Rng rng(seed);
  for (const Matrix& m : out.matrices_) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < m.rows; ++i) {
        for (int64_t j = 0; j <= m.position + i; ++j) {
          if (rng.uniform() < share) out.row(m, h, i).push_back(j);
        }
      }
    }
  }
  return out;
}

}  // namespace seer::test
