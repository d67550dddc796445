// The order of sparse attention's work, by the kernel's own source on emulated thread blocks, against a sort.
#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

#include "cuda/attention/sparse.h"
#include "src/core/rng.h"
#include "tests/cuda/emulation/launch.h"

namespace seer::test {
namespace {

/// Block rows of several segments, and how many blocks each head keeps of them: few different numbers, so that many tie.
class OrderOfWork : public testing::TestWithParam<std::vector<int64_t>> {
 protected:
  OrderOfWork() {
    int64_t row = 0;
    for (const int64_t rows : GetParam()) {
      ScoreSegment segment{};
      segment.queries.row = row;
      segment.queries.rows = rows;
      matrices_.push_back(segment);
      row += rows;
    }
    block_rows_ = static_cast<int32_t>(row);
  }

  void expect_sorted(int32_t heads, int32_t kv_heads, int32_t head_begin, int32_t head_count) {
    Rng random(static_cast<uint64_t>(block_rows_) + head_begin);
    std::vector<int32_t> counts(static_cast<size_t>(head_count) * block_rows_);
    for (int32_t& count : counts) count = static_cast<int32_t>(random.below(4));
    int32_t work_counter = 12345;
    cuda::SparseParams p{
        .heads = heads, .kv_heads = kv_heads, .head_begin = head_begin, .head_count = head_count};
    p.matrices = matrices_.data();
    p.block_rows = block_rows_;
    p.counts = counts.data();
    p.work_counter = &work_counter;
    const int32_t groups = cuda::kv_heads_used(p);
    std::vector<cuda::BlockRow> order(static_cast<size_t>(groups) * block_rows_, {-1, -1});
    cuda::order_lists(p, static_cast<int32_t>(matrices_.size()), order.data(), nullptr);

    EXPECT_EQ(work_counter, 0);
    for (int32_t number = 0; number < groups; ++number) {
      const cuda::HeadGroup group = cuda::head_group(p, number);
      std::vector<cuda::BlockRow> expected;
      for (size_t s = 0; s < matrices_.size(); ++s) {
        for (int64_t i = 0; i < matrices_[s].queries.rows; ++i)
          expected.push_back({static_cast<int32_t>(matrices_[s].queries.row + i), static_cast<int32_t>(s)});
      }
      std::ranges::stable_sort(expected, std::greater(), [&](const cuda::BlockRow& at) {
        int32_t kept = 0;
        for (int32_t h = group.first; h < group.first + group.count; ++h)
          kept += counts[h * block_rows_ + at.row];
        return kept;
      });
      for (int32_t place = 0; place < block_rows_; ++place) {
        const cuda::BlockRow& actual = order[static_cast<size_t>(number) * block_rows_ + place];
        ASSERT_EQ(actual.row, expected[place].row) << "place " << place << " of kv head " << number;
        ASSERT_EQ(actual.segment, expected[place].segment) << "place " << place << " of kv head " << number;
      }
    }
  }

  std::vector<ScoreSegment> matrices_;
  int32_t block_rows_ = 0;
};

TEST_P(OrderOfWork, IsLongestFirst) {
  expect_sorted(4, 4, 0, 4);
  expect_sorted(8, 2, 0, 8);
  expect_sorted(12, 3, 3, 7);  // the first and the last group are cut
}

INSTANTIATE_TEST_SUITE_P(All, OrderOfWork,
                         testing::Values(std::vector<int64_t>{1}, std::vector<int64_t>{63},
                                         std::vector<int64_t>{1, 64}, std::vector<int64_t>{255, 1, 1},
                                         std::vector<int64_t>{17, 300, 283}));

}  // namespace
}  // namespace seer::test
