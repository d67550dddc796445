#include "data/shuffle_buffer.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/rng.h"

namespace seer {
namespace {

std::vector<int32_t> block(ShuffleBuffer& buffer, int32_t size, int64_t first) {
  for (int32_t i = 0; i < size; ++i) buffer.add({{i}, {0, 1}, -1});
  std::vector<int32_t> order;
  for (const TokenSequence& sequence : buffer.take(first)) {
    EXPECT_EQ(sequence.number, first + static_cast<int64_t>(order.size()));
    order.push_back(sequence.ids.at(0));
  }
  EXPECT_TRUE(buffer.empty());
  return order;
}

TEST(ShuffleBufferTest, EachBlockHasItsOwnSeededPermutation) {
  ShuffleBuffer buffer(true, 10, 3);
  const auto second = block(buffer, 10, 10);
  std::vector<int32_t> expected(10);
  std::iota(expected.begin(), expected.end(), 0);
  Rng rng = Rng(3).fork("block").fork(uint64_t{1});
  rng.shuffle(std::span(expected));
  EXPECT_EQ(second, expected);
  EXPECT_NE(block(buffer, 10, 20), second);
  EXPECT_EQ(block(buffer, 10, 10), second) << "whatever came before";
  ShuffleBuffer other(true, 10, 4);
  EXPECT_NE(block(other, 10, 10), second);
}

TEST(ShuffleBufferTest, AShortLastBlockIsPermutedToo) {
  ShuffleBuffer buffer(true, 10, 3);
  EXPECT_THAT(block(buffer, 6, 30), ::testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(ShuffleBufferTest, WithoutShufflingEachSequenceIsABlock) {
  ShuffleBuffer buffer(false, 10, 3);
  EXPECT_EQ(buffer.block_start(17), 17);
  buffer.add({{5}, {0, 1}, -1});
  EXPECT_TRUE(buffer.full());
  EXPECT_EQ(ShuffleBuffer(true, 10, 3).block_start(17), 10);
}

}  // namespace
}  // namespace seer
