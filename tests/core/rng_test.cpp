#include "src/core/rng.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace seer {
namespace {

TEST(Rng, IsSplitMix64) {
  // First outputs for seed 1234567, as published with the algorithm's reference code.
  Rng rng(1234567);
  for (const uint64_t expected :
       {6457827717110365317ULL, 3203168211198807973ULL, 9817491932198370423ULL, 4593380528125082431ULL}) {
    EXPECT_EQ(rng.next(), expected);
  }
}

TEST(Rng, ForksDoNotDependOnLaterUseAndDiffer) {
  const Rng root(7);
  Rng used(7);
  Rng fork = used.fork("shuffle").fork(3);
  EXPECT_EQ(fork.next(), root.fork("shuffle").fork(3).next());
  std::set<uint64_t> first;
  for (uint64_t i = 0; i < 1000; ++i) first.insert(root.fork(i).next());
  for (const char* name : {"", "a", "b", "shuffle", "init"}) first.insert(root.fork(name).next());
  EXPECT_EQ(first.size(), 1005);
}

TEST(Rng, BelowStaysBelowAndIsEven) {
  Rng rng(1);
  EXPECT_EQ(rng.below(1), 0);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts.at(rng.below(7));
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 5 * std::sqrt(10'000.0));
  // Half of all draws are rejected for this bound; a plain modulo would favour the lower half.
  const uint64_t bound = (uint64_t{1} << 63) + 1;
  int low = 0;
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t value = rng.below(bound);
    EXPECT_LT(value, bound);
    low += value < bound / 2 ? 1 : 0;
  }
  EXPECT_NEAR(low, 5000, 250);
}

TEST(Rng, UniformAndNormalHaveTheirMoments) {
  Rng rng(2);
  constexpr int kCount = 200'000;
  double sum = 0, normal_sum = 0, normal_squares = 0, normal_cubes = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = rng.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    const double n = rng.normal();
    normal_sum += n;
    normal_squares += n * n;
    normal_cubes += n * n * n;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 0.005);
  EXPECT_NEAR(normal_sum / kCount, 0, 0.015);
  EXPECT_NEAR(normal_squares / kCount, 1, 0.02);
  EXPECT_NEAR(normal_cubes / kCount, 0, 0.05);
}

TEST(Rng, ShuffleIsAPermutationThatTheSeedDecides) {
  std::vector<int> values(100), again(100);
  std::iota(values.begin(), values.end(), 0);
  std::iota(again.begin(), again.end(), 0);
  Rng(3).shuffle(std::span(values));
  Rng(3).shuffle(std::span(again));
  EXPECT_EQ(values, again);
  EXPECT_FALSE(std::is_sorted(values.begin(), values.end()));
  std::sort(values.begin(), values.end());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace seer
