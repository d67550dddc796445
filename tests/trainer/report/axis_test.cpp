#include "trainer/report/axis.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace seer::report {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> out;
  for (const Tick& tick : axis.ticks) out.push_back(tick.label);
  return out;
}

Axis axis_of(const std::vector<double>& values, Scale scale, bool integers = false) {
  return make_axis(values, scale, integers);
}

TEST(Axis, LinearTicksAreRound) {
  const Axis axis = axis_of({0, 50}, Scale::kLinear);
  EXPECT_THAT(labels(axis), ElementsAre("0", "10", "20", "30", "40", "50"));
  EXPECT_DOUBLE_EQ(axis.position(0), 0);
  EXPECT_DOUBLE_EQ(axis.position(25), 0.5);
  EXPECT_DOUBLE_EQ(axis.position(50), 1);
  EXPECT_THAT(labels(axis_of({0.61, 0.78}, Scale::kLinear)), ElementsAre("0.60", "0.65", "0.70", "0.75"));
  EXPECT_THAT(labels(axis_of({-3, 3}, Scale::kLinear)), ElementsAre("-3", "-2", "-1", "0", "1", "2", "3"));
  EXPECT_THAT(labels(axis_of({0, 200'000}, Scale::kLinear)),
              ElementsAre("0k", "50k", "100k", "150k", "200k"));
}

TEST(Axis, IntegersHaveNoTickBetweenTwo) {
  EXPECT_THAT(labels(axis_of({0, 3}, Scale::kLinear)),
              ElementsAre("0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"));
  EXPECT_THAT(labels(axis_of({0, 3}, Scale::kLinear, true)), ElementsAre("0", "1", "2", "3"));
}

TEST(Axis, LogTicksAreOneTwoFiveOrDecades) {
  EXPECT_THAT(labels(axis_of({0.06, 0.9}, Scale::kLog)), ElementsAre("0.05", "0.1", "0.2", "0.5", "1"));
  EXPECT_THAT(labels(axis_of({0.21, 0.32}, Scale::kLog)),
              ElementsAre("0.22", "0.24", "0.26", "0.28", "0.30", "0.32"));
  const Axis decades = axis_of({0.1, 154}, Scale::kLog);
  EXPECT_THAT(labels(decades), ElementsAre("0.1", "1", "10", "100"));
  EXPECT_DOUBLE_EQ(decades.high, 200);
  EXPECT_DOUBLE_EQ(decades.position(0.1), 0);
  EXPECT_NEAR(axis_of({1, 10000}, Scale::kLog).position(100), 0.5, 1e-12);
  EXPECT_THAT(labels(axis_of({1e-9, 1e3}, Scale::kLog)),
              ElementsAre("1e-09", "1e-07", "1e-05", "0.001", "0.1", "10", "1,000"));
}

/// Whatever the values: they lie inside, ticks do too, and there are some, but not many.
TEST(Axis, HoldsItsValues) {
  for (const Scale scale : {Scale::kLinear, Scale::kLog}) {
    for (const bool integers : {false, true}) {
      for (const double low : {1e-7, 0.0031, 0.5, 0.66, 1.0, 3.0, 7.1, 19.24, 999.0, 123456.0, 3e8}) {
        for (const double ratio : {1.0, 1.0001, 1.3, 2.0, 3.0, 5.1, 17.0, 999.0, 54321.0, 1e7}) {
          if (integers && (low != std::floor(low) || ratio != std::floor(ratio))) continue;
          const Axis axis = axis_of({low, low * ratio}, scale, integers);
          EXPECT_GE(axis.position(low), -1e-6) << low << " " << ratio;
          EXPECT_LE(axis.position(low * ratio), 1 + 1e-6) << low << " " << ratio;
          EXPECT_LE(axis.ticks.size(), 8U) << low << " " << ratio;
          EXPECT_GE(axis.ticks.size(), 1U) << low << " " << ratio;
          for (const Tick& tick : axis.ticks) {
            EXPECT_GE(axis.position(tick.value), -1e-6);
            EXPECT_LE(axis.position(tick.value), 1 + 1e-6);
          }
        }
      }
    }
  }
}

TEST(Axis, LeavesOutWhatCannotBeDrawn) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Axis axis = axis_of({nan, -1, 0, 1, 10, INFINITY}, Scale::kLog);
  EXPECT_DOUBLE_EQ(axis.low, 1);
  EXPECT_DOUBLE_EQ(axis.high, 10);
  EXPECT_DOUBLE_EQ(axis_of({nan}, Scale::kLinear).high, 1);
  EXPECT_DOUBLE_EQ(axis_of({}, Scale::kLog).low, 0.1);
  const Axis one = axis_of({0}, Scale::kLinear);
  EXPECT_LT(one.low, 0);
  EXPECT_GT(one.high, 0);
}

}  // namespace
}  // namespace seer::report
