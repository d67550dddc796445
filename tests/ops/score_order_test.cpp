// What every backend computes alike, bit for bit: a change here changes what published figures were made with.
#include "src/ops/score_order.h"

#include <bit>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace seer::test {
namespace {

uint32_t key(float x) {
  return ordered_bits(std::bit_cast<uint32_t>(x));
}

TEST(ScoreOrder, IsTheOrderOfFloats) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> ascending = {-kInfinity, -3e38F, -2.0F, -1.0F, -1e-40F, 0.0F,
                                        1e-45F,     1e-40F, 0.5F,  1.0F,  3e38F,   kInfinity};
  for (size_t i = 0; i < ascending.size(); ++i) {
    for (size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_EQ(key(ascending[i]) < key(ascending[j]), ascending[i] < ascending[j])
          << ascending[i] << " " << ascending[j];
    }
  }
  EXPECT_EQ(key(-0.0F), key(0.0F));
}

TEST(BlockHash, KeepsItsValues) {
  EXPECT_EQ(block_hash(0, 0, 0, 0), 0x1.1c13a8p-3F);
  EXPECT_EQ(block_hash(42, 3, 1000, 17), 0x1.6cede2p-1F);
  EXPECT_EQ(block_hash(~uint64_t{0}, 31, 2047, 2046), 0x1.d2becap-1F);
}

TEST(BlockHash, IsUniformInEveryArgument) {
  constexpr int kDraws = 4096;
  // Each argument alone counts up.
  for (int argument = 0; argument < 4; ++argument) {
    std::vector<int> histogram(16);
    double sum = 0;
    for (int n = 0; n < kDraws; ++n) {
      const float x = block_hash(argument == 0 ? n : 7, argument == 1 ? n : 1, argument == 2 ? n : 2,
                                 argument == 3 ? n : 3);
      ASSERT_GE(x, 0.0F);
      ASSERT_LT(x, 1.0F);
      sum += static_cast<double>(x);
      ++histogram[static_cast<int>(x * 16)];
    }
    EXPECT_NEAR(sum / kDraws, 0.5, 0.02) << "argument " << argument;  // 4.4 standard deviations
    for (const int count : histogram) EXPECT_NEAR(count, kDraws / 16, 75) << "argument " << argument;  // 4.8
  }
}

}  // namespace
}  // namespace seer::test
