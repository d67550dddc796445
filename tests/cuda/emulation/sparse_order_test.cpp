// The order of sparse attention's work, by the kernel's own source on emulated thread blocks, against a sort; and which
// lists it makes neighbours.
#include <algorithm>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda/emulation/cuda_words.h"
// After CUDA's words.
#include "cuda/attention/sparse_hopper_roles.cuh"
#include "src/core/rng.h"

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
      segment.blocks = kMostBlocks;
      segment.matrix = row * kMostBlocks;
      matrices_.push_back(segment);
      segments_.push_back(
          {.queries = {.row = 64 * row, .rows = 64 * rows, .position = 0}, .key_row = 64 * row});
      row += rows;
    }
    block_rows_ = static_cast<int32_t>(row);
  }

  void expect_sorted(int32_t heads, int32_t kv_heads, int32_t head_begin, int32_t head_count) {
    Rng random(static_cast<uint64_t>(block_rows_) + head_begin);
    std::vector<int32_t> counts(static_cast<size_t>(head_count) * block_rows_);
    for (int32_t& count : counts) count = static_cast<int32_t>(random.below(4));
    const std::vector<int32_t> blocks(static_cast<size_t>(head_count) * block_rows_ * kMostBlocks, 0);
    int32_t work_counter = 12345;
    cuda::SparseParams p{
        .heads = heads, .kv_heads = kv_heads, .head_begin = head_begin, .head_count = head_count};
    p.matrices = matrices_.data();
    p.block_rows = block_rows_;
    p.counts = counts.data();
    p.blocks = blocks.data();
    p.segments = segments_.data();
    p.block_size = 64;
    p.work_counter = &work_counter;
    const int32_t groups = cuda::kv_heads_used(p);
    std::vector<cuda::BlockRow> order(static_cast<size_t>(groups) * block_rows_, {-1, -1});
    std::vector<int32_t> rows_together(groups, -1);
    cuda::order_lists(p, static_cast<int32_t>(matrices_.size()), order.data(), rows_together.data(), nullptr);

    EXPECT_EQ(work_counter, 0);
    EXPECT_THAT(rows_together, testing::Each(testing::AnyOf(1, cuda::kRowsTogether)));
    for (int32_t number = 0; number < groups; ++number) {
      const cuda::HeadGroup group = cuda::head_group(p, number);
      std::vector<cuda::BlockRow> expected;
      for (size_t s = 0; s < matrices_.size(); ++s) {
        for (int64_t i = 0; i < matrices_[s].queries.rows; ++i)
          expected.push_back({static_cast<int32_t>(matrices_[s].queries.row + i), static_cast<int32_t>(s)});
      }
      std::ranges::stable_sort(expected, std::greater(), [&](const cuda::BlockRow& at) {
        // Of its run of rows, counted from the end of the sequence; rows that are in none come last.
        const auto end =
            static_cast<int32_t>(matrices_[at.segment].queries.row + matrices_[at.segment].queries.rows);
        const int32_t begin = end - ((end - 1 - at.row) / cuda::kRowsTogether + 1) * cuda::kRowsTogether;
        const bool run = begin >= matrices_[at.segment].queries.row;
        int32_t kept = 0;
        for (int32_t h = group.first; h < group.first + group.count; ++h) {
          for (int32_t row = run ? begin : at.row; row < (run ? begin + cuda::kRowsTogether : at.row + 1);
               ++row)
            kept += counts[h * block_rows_ + row];
        }
        return std::pair(run, kept);
      });
      for (int32_t place = 0; place < block_rows_; ++place) {
        const cuda::BlockRow& actual = order[static_cast<size_t>(number) * block_rows_ + place];
        ASSERT_EQ(actual.row, expected[place].row) << "place " << place << " of kv head " << number;
        ASSERT_EQ(actual.segment, expected[place].segment) << "place " << place << " of kv head " << number;
      }
    }
  }

  static constexpr int64_t kMostBlocks = 4;
  std::vector<ScoreSegment> matrices_;
  std::vector<Segment> segments_;
  int32_t block_rows_ = 0;
};

TEST_P(OrderOfWork, IsRunsOfRowsLongestFirst) {
  expect_sorted(4, 4, 0, 4);
  expect_sorted(8, 2, 0, 8);
  expect_sorted(12, 3, 3, 7);  // the first and the last group are cut
}

INSTANTIATE_TEST_SUITE_P(All, OrderOfWork,
                         testing::Values(std::vector<int64_t>{1}, std::vector<int64_t>{63},
                                         std::vector<int64_t>{1, 64}, std::vector<int64_t>{255, 1, 1},
                                         std::vector<int64_t>{17, 300, 283}));

/// Lists of 2 kv heads with 4 heads each over 300 block rows of several sequences.
class Neighbours : public testing::Test {
 protected:
  static constexpr int32_t kHeads = 8, kKvHeads = 2, kRows = 300, kBlocks = 12;
  /// `first`: the first of kBlocks consecutive blocks that a head's row keeps.
  template <typename First>
  std::vector<int32_t> rows_together(const First& first, int64_t sequences = 2) {
    std::vector<int32_t> blocks(static_cast<size_t>(kHeads) * kRows * kRows, -1);
    const std::vector<int32_t> counts(static_cast<size_t>(kHeads) * kRows, sequences == kRows ? 1 : kBlocks);
    std::vector<ScoreSegment> matrices(sequences);
    std::vector<Segment> segments(sequences);
    int64_t row = 0, element = 0;
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t rows = kRows * (s + 1) / sequences - row;
      matrices[s].queries = {.row = row, .rows = rows, .position = 0};
      matrices[s].blocks = rows;
      matrices[s].matrix = element;
      segments[s] = {.queries = {.row = 64 * row, .rows = 64 * rows, .position = 0}, .key_row = 64 * row};
      for (int64_t head = 0; head < kHeads; ++head) {
        for (int64_t i = 0; i < rows; ++i) {
          for (int32_t b = 0; b < std::min<int64_t>(kBlocks, rows); ++b)
            blocks[kHeads * element + (head * rows + i) * rows + b] = first(head, row + i) + b;
        }
      }
      row += rows;
      element += rows * rows;
    }
    int32_t work_counter = 0;
    const cuda::SparseParams p{.heads = kHeads,
                               .kv_heads = kKvHeads,
                               .head_count = kHeads,
                               .segments = segments.data(),
                               .matrices = matrices.data(),
                               .block_size = 64,
                               .block_rows = kRows,
                               .counts = counts.data(),
                               .blocks = blocks.data(),
                               .work_counter = &work_counter};
    std::vector<cuda::BlockRow> order(static_cast<size_t>(kKvHeads) * kRows);
    std::vector<int32_t> together(kKvHeads, -1);
    cuda::order_lists(p, static_cast<int32_t>(sequences), order.data(), together.data(), nullptr);
    return together;
  }
};

TEST_F(Neighbours, AreRowsOrHeadsByWhatTheirListsShare) {
  const auto same_in_all_rows = [](int64_t head, int64_t) { return 100 * (head % 4); };
  const auto same_in_all_heads = [](int64_t, int64_t row) { return row * 37 % 250; };
  EXPECT_THAT(rows_together(same_in_all_rows), testing::Each(cuda::kRowsTogether));
  EXPECT_THAT(rows_together(same_in_all_heads), testing::Each(1));
  // Each kv head as its own lists are.
  EXPECT_THAT(rows_together([&](int64_t head, int64_t row) {
                return head < 4 ? same_in_all_heads(head, row) : same_in_all_rows(head, row);
              }),
              testing::ElementsAre(1, cuda::kRowsTogether));
}

TEST_F(Neighbours, AreRowsThatShareAlmostAsMuchAsHeads) {
  // Rows move on by a block, heads by a few: 11 of 12 blocks in common against so many.
  const auto heads_apart = [](int32_t blocks) {
    return [=](int64_t head, int64_t row) { return static_cast<int32_t>(row + blocks * (head % 2)); };
  };
  EXPECT_THAT(rows_together(heads_apart(0)), testing::Each(cuda::kRowsTogether));  // 11 of 12 is over 9 in 10
  EXPECT_THAT(rows_together(heads_apart(4)), testing::Each(cuda::kRowsTogether));
  EXPECT_THAT(rows_together([](int64_t, int64_t row) { return 3 * row; }),
              testing::Each(1));  // 9 of 12 is not
}

TEST_F(Neighbours, AreHeadsWhereSequencesHaveOneRow) {
  EXPECT_THAT(rows_together([](int64_t, int64_t) { return 0; }, kRows), testing::Each(1));
}

/// Which items come one after the other, for so many rows together.
class Items : public testing::TestWithParam<int32_t> {};

TEST_P(Items, AreEveryRowOfEveryHeadOnce) {
  constexpr int32_t kRows = 8, kHeads = 6, kKvHeads = 2;  // 8 rows are not a whole number of runs
  const std::vector<int32_t> counts(kHeads * kRows, 1), blocks(kHeads * kRows * kRows, 0);
  ScoreSegment matrix{};
  matrix.queries.rows = kRows;
  matrix.blocks = kRows;
  const Segment segment{.queries = {.row = 0, .rows = 128 * kRows, .position = 0}};
  std::vector<cuda::BlockRow> order;
  for (int32_t i = 0; i < kKvHeads * kRows; ++i) order.push_back({i % kRows, 0});
  const std::vector<int32_t> rows_together(kKvHeads, GetParam());
  const cuda::SparseParams p{.heads = kHeads,
                             .kv_heads = kKvHeads,
                             .head_count = kHeads,
                             .segments = &segment,
                             .matrices = &matrix,
                             .block_size = 128,
                             .block_rows = kRows,
                             .counts = counts.data(),
                             .blocks = blocks.data(),
                             .order = order.data(),
                             .rows_together = rows_together.data()};
  const cuda::HeadGroup group = cuda::head_group(p, 1);
  std::set<std::pair<int32_t, int32_t>> seen;
  for (int32_t number = 0; number < 2 * kRows * group.count; ++number) {
    const cuda::hopper::ListItem item = cuda::hopper::find_item<128>(p, 1, group, number);
    EXPECT_TRUE(seen.emplace(item.head, item.query_row).second) << number;
    EXPECT_EQ(item.rows, 64);
    if (number % 2 == 1) {  // the halves of a block
      const cuda::hopper::ListItem before = cuda::hopper::find_item<128>(p, 1, group, number - 1);
      EXPECT_EQ(before.head, item.head);
      EXPECT_EQ(before.query_row + 64, item.query_row);
    }
  }
  EXPECT_EQ(seen.size(), 2 * kRows * 3U);
  for (int32_t triple = 0; triple < 2 * 2 * 3; ++triple) {  // of the runs
    std::set<int32_t> heads, rows;
    for (int32_t i = 0; i < 3; ++i) {
      const cuda::hopper::ListItem item = cuda::hopper::find_item<128>(p, 1, group, 3 * triple + i);
      heads.insert(item.head);
      rows.insert(item.query_row / 128);
    }
    if (GetParam() > 1)
      EXPECT_EQ(heads.size(), 1U) << triple;
    else
      EXPECT_EQ(rows.size(), 1U) << triple;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Items, testing::Values(1, cuda::kRowsTogether));

}  // namespace
}  // namespace seer::test
