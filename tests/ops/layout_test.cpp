// Where sequences, chunks and score matrices of a pack lie, and the bound that memory is planned with.
#include "src/ops/layout.h"

#include <numeric>

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/core/rng.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

void expect_span(const RowSpan& span, int64_t row, int64_t rows, int64_t position) {
  EXPECT_EQ(span.row, row);
  EXPECT_EQ(span.rows, rows);
  EXPECT_EQ(span.position, position);
}

TEST(BatchLayout, PackedSequences) {
  BatchLayout layout = BatchLayout::packed(std::vector<int64_t>{0, 5, 6, 70});
  ASSERT_EQ(layout.segments.host.size(), 3u);
  EXPECT_EQ(layout.sequences, 3);
  EXPECT_EQ(layout.num_query_rows, 70);
  EXPECT_EQ(layout.num_key_rows, 70);
  const Segment& last = layout.segments.host[2];
  expect_span(last.queries, 6, 64, 0);
  expect_span(layout.rows.host[2], 6, 64, 0);
  EXPECT_EQ(last.key_row, 6);
  EXPECT_EQ(last.length, 64);
  EXPECT_EQ(last.sequence, 2);

  layout.assign_packed(std::vector<int64_t>{0, 9});
  EXPECT_EQ(layout.segments.host.size(), 1u);
  EXPECT_EQ(layout.sequences, 1);
  EXPECT_EQ(layout.num_query_rows, 9);
}

TEST(BatchLayout, RefusesEmptySequences) {
  EXPECT_THROW(BatchLayout::packed(std::vector<int64_t>{0}), Error);
  EXPECT_THROW(BatchLayout::packed(std::vector<int64_t>{}), Error);
  EXPECT_THROW(BatchLayout::packed(std::vector<int64_t>{1, 4}), Error);
  EXPECT_THROW(BatchLayout::packed(std::vector<int64_t>{0, 4, 4}), Error);
  EXPECT_THROW(BatchLayout::packed(std::vector<int64_t>{0, 4, 3}), Error);
}

TEST(ScoreLayout, PrefillOfAPackWithShortLastBlocks) {
  const ScoreLayout layout =
      ScoreLayout::prefill(BatchLayout::packed(std::vector<int64_t>{0, 130, 146, 466}), 32);
  ASSERT_EQ(layout.segments.host.size(), 3u);
  EXPECT_EQ(layout.num_query_rows, 5 + 1 + 10);
  EXPECT_EQ(layout.num_key_rows, 5 + 1 + 10);
  EXPECT_EQ(layout.elements, 25 + 1 + 100);
  EXPECT_EQ(layout.max_blocks, 10);
  EXPECT_EQ(layout.sequences, 3);
  const ScoreSegment& last = layout.segments.host[2];
  expect_span(last.queries, 6, 10, 0);
  EXPECT_EQ(last.key_row, 6);
  EXPECT_EQ(last.blocks, 10);
  EXPECT_EQ(last.matrix, 26);
  EXPECT_EQ(last.first_loss_row, 2);  // 10 / 4
  EXPECT_EQ(last.loss_rows, 8);
  EXPECT_EQ(last.loss_columns, 10);
  EXPECT_EQ(layout.visible(0), 1);
  EXPECT_EQ(layout.visible(9), 10);
}

TEST(ScoreLayout, PrefillOfChunksOfALongSequence) {
  const Pack pack = {{100, {{0, 100}}}, {301, {{64, 64}, {256, 45}}}, {64, {{32, 32}}}};
  const ScoreLayout layout = ScoreLayout::prefill(layout_of(pack), 32);
  ASSERT_EQ(layout.segments.host.size(), 4u);
  ASSERT_EQ(layout.key_rows.host.size(), 3u);  // keys once for each sequence
  expect_span(layout.key_rows.host[1], 4, 10, 0);
  const ScoreSegment& middle = layout.segments.host[1];
  expect_span(middle.queries, 4, 2, 2);
  EXPECT_EQ(middle.key_row, 4);
  EXPECT_EQ(middle.blocks, 10);
  EXPECT_EQ(middle.matrix, 16);
  EXPECT_EQ(middle.first_loss_row, 2);
  EXPECT_EQ(middle.loss_rows, 8);  // of the whole sequence
  const ScoreSegment& tail = layout.segments.host[2];
  expect_span(tail.queries, 6, 2, 8);
  EXPECT_EQ(tail.key_row, 4);
  EXPECT_EQ(tail.matrix, 16 + 20);
  EXPECT_EQ(tail.sequence, 1);
  EXPECT_EQ(layout.segments.host[3].key_row, 14);
  EXPECT_EQ(layout.num_key_rows, 4 + 10 + 2);
  EXPECT_EQ(layout.num_query_rows, 4 + 2 + 2 + 1);
}

TEST(ScoreLayout, ChunksMustFallOnBlocks) {
  EXPECT_THROW(ScoreLayout::prefill(layout_of({{100, {{16, 84}}}}), 32), Error);
  EXPECT_THROW(ScoreLayout::prefill(layout_of({{100, {{32, 40}}}}), 32), Error);
  EXPECT_NO_THROW(ScoreLayout::prefill(layout_of({{100, {{32, 68}}}}), 32));
}

TEST(ScoreLayout, Decode) {
  const ScoreLayout layout =
      ScoreLayout::decode(BatchLayout::packed(std::vector<int64_t>{0, 75, 90}), 16, 0.5);
  ASSERT_EQ(layout.segments.host.size(), 2u);
  const ScoreSegment& first = layout.segments.host[0];
  expect_span(first.queries, 0, 75, 0);
  EXPECT_EQ(first.blocks, 5);
  EXPECT_EQ(first.first_loss_row, 37);  // trunc(37.5)
  EXPECT_EQ(first.loss_rows, 38);
  EXPECT_EQ(first.loss_columns, 5);
  const ScoreSegment& second = layout.segments.host[1];
  expect_span(second.queries, 75, 15, 0);
  EXPECT_EQ(second.key_row, 5);
  EXPECT_EQ(second.blocks, 1);
  EXPECT_EQ(second.matrix, 75 * 5);
  EXPECT_EQ(second.loss_columns, 5);  // the pack's largest N
  EXPECT_EQ(layout.num_query_rows, 90);
  EXPECT_EQ(layout.num_key_rows, 6);
  EXPECT_EQ(layout.elements, 75 * 5 + 15);
  EXPECT_EQ(layout.visible(15), 0);
  EXPECT_EQ(layout.visible(16), 1);
  EXPECT_EQ(layout.visible(74), 4);

  const BatchLayout batch = BatchLayout::packed(std::vector<int64_t>{0, 75});
  EXPECT_THROW(ScoreLayout::decode(batch, 16, 1.0), Error);  // no row would count
  EXPECT_THROW(ScoreLayout::decode(batch, 16, -0.1), Error);
  EXPECT_EQ(ScoreLayout::decode(batch, 16, 0.999).segments.host[0].loss_rows, 1);
}

/// The sizes of random packs, of the worst ones by construction (many sequences just over two blocks, one
/// sequence just over a block boundary), and of mixtures.
TEST(ScoreLayout, WorstCaseBoundsEveryPack) {
  Rng rng(5);
  for (int trial = 0; trial < 3000; ++trial) {
    const int64_t block = int64_t{16} << rng.below(4);
    const int64_t tokens = 2 * block + static_cast<int64_t>(rng.below(64 * block));
    const ScoreLayout bound = ScoreLayout::worst_case(tokens, block);
    std::vector<int64_t> cu_seqlens{0};
    while (tokens - cu_seqlens.back() >= 2 * block) {
      const int64_t left = tokens - cu_seqlens.back();
      int64_t length = 2 * block + static_cast<int64_t>(rng.below(left - 2 * block + 1));
      switch (rng.below(4)) {
        case 0:
          length = std::min(left, 2 * block + 1);
          break;
        case 1:
          length = std::min(left, length / block * block + 1);
          break;
        case 2:
          length = left;
          break;
        default:
          break;
      }
      cu_seqlens.push_back(cu_seqlens.back() + length);
    }
    const ScoreLayout layout = ScoreLayout::prefill(BatchLayout::packed(cu_seqlens), block);
    SCOPED_TRACE(testing::Message() << tokens << " tokens, blocks of " << block);
    ASSERT_LE(layout.num_query_rows, bound.num_query_rows);
    ASSERT_LE(layout.num_key_rows, bound.num_key_rows);
    ASSERT_LE(layout.elements, bound.elements);
    ASSERT_LE(layout.max_blocks, bound.max_blocks);
    ASSERT_LE(layout.sequences, bound.sequences);
    ASSERT_LE(static_cast<int64_t>(layout.segments.host.size()), bound.sequences);
  }
}

}  // namespace
}  // namespace seer::test
