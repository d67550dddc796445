// Frequencies and tables of SEMANTICS 1: the formulas in fp64 against our fp32, and the precision that is
// part of the definition.
#include "src/model/rope.h"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/cpu/cpu_backend.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

constexpr double kFp32 = 4e-7;  // a few roundings

RopeConfig config(RopeType type, double theta) {
  RopeConfig c;
  c.type = type;
  c.theta = theta;
  c.factor = 8.0;
  c.original_max_position_embeddings = 8192;
  return c;
}

std::vector<double> plain(double theta, int64_t dim) {
  std::vector<double> out;
  for (int64_t j = 0; j < dim / 2; ++j) {
    out.push_back(std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(dim)));
  }
  return out;
}

void expect_close(const std::vector<float>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t j = 0; j < actual.size(); ++j)
    EXPECT_NEAR(actual[j], expected[j], kFp32 * expected[j]) << "j = " << j;
}

TEST(RopeFrequencies, Default) {
  for (const double theta : {10000.0, 500000.0, 1e6}) {
    for (const int64_t dim : {2, 8, 64, 80, 128}) {
      const RopeFrequencies rope = rope_frequencies(config(RopeType::kDefault, theta), dim);
      expect_close(rope.inv_freq, plain(theta, dim));
      EXPECT_EQ(rope.inv_freq[0], 1.0F);
      EXPECT_EQ(rope.attention_scaling, 1.0F);
    }
  }
  EXPECT_THROW(rope_frequencies(config(RopeType::kDefault, 10000.0), 7), Error);
}

TEST(RopeFrequencies, Linear) {
  std::vector<double> expected = plain(10000.0, 128);
  for (double& value : expected) value /= 8.0;
  const RopeFrequencies rope = rope_frequencies(config(RopeType::kLinear, 10000.0), 128);
  expect_close(rope.inv_freq, expected);
  EXPECT_EQ(rope.attention_scaling, 1.0F);
}

TEST(RopeFrequencies, Llama3HasThreeBands) {
  RopeConfig c = config(RopeType::kLlama3, 500000.0);
  c.low_freq_factor = 1.0;
  c.high_freq_factor = 4.0;
  std::vector<double> expected;
  int unchanged = 0;
  int divided = 0;
  for (const double inv_freq : plain(500000.0, 128)) {
    const double wavelength = 2.0 * std::numbers::pi / inv_freq;
    if (wavelength > 8192.0 / 1.0) {
      expected.push_back(inv_freq / 8.0);
      ++divided;
    } else if (wavelength < 8192.0 / 4.0) {
      expected.push_back(inv_freq);
      ++unchanged;
    } else {
      const double s = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
      expected.push_back(inv_freq * ((1.0 - s) / 8.0 + s));
    }
  }
  EXPECT_GT(unchanged, 10);
  EXPECT_GT(divided, 10);
  EXPECT_LT(unchanged + divided, 64);
  // The blend cancels: its error is that of the wavelength's ratio, not of the result.
  const RopeFrequencies rope = rope_frequencies(c, 128);
  for (size_t j = 0; j < expected.size(); ++j) EXPECT_NEAR(rope.inv_freq[j], expected[j], 2e-6 * expected[j]);
}

std::vector<double> yarn(const RopeConfig& c, int64_t dim) {
  const auto d = static_cast<double>(dim);
  const auto at = [&](double rotations) {
    return d *
           std::log(static_cast<double>(c.original_max_position_embeddings) /
                    (2.0 * std::numbers::pi * rotations)) /
           (2.0 * std::log(c.theta));
  };
  const double low = std::max(0.0, std::floor(at(c.beta_fast)));
  double high = std::min(d - 1.0, std::ceil(at(c.beta_slow)));
  if (low == high) high += 0.001;
  std::vector<double> out = plain(c.theta, dim);
  for (size_t j = 0; j < out.size(); ++j) {
    const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    out[j] *= (1.0 - ramp) + ramp / c.factor;
  }
  return out;
}

TEST(RopeFrequencies, Yarn) {
  for (const int64_t dim : {16, 64, 128}) {  // a gate's dimension changes the ramp
    for (const double theta : {10000.0, 1e6}) {
      RopeConfig c = config(RopeType::kYarn, theta);
      const RopeFrequencies rope = rope_frequencies(c, dim);
      expect_close(rope.inv_freq, yarn(c, dim));
      EXPECT_NEAR(rope.attention_scaling, 0.1 * std::log(8.0) + 1.0, 1e-7);
      EXPECT_EQ(rope.inv_freq.front(), 1.0F);
      EXPECT_NEAR(rope.inv_freq.back(), plain(theta, dim).back() / 8.0, 1e-7);
      c.attention_factor = 1.25;
      c.beta_fast = 16.0;
      c.beta_slow = 2.0;
      expect_close(rope_frequencies(c, dim).inv_freq, yarn(c, dim));
      EXPECT_EQ(rope_frequencies(c, dim).attention_scaling, 1.25F);
      c.attention_factor.reset();
      c.factor = 1.0;
      EXPECT_EQ(rope_frequencies(c, dim).attention_scaling, 1.0F);
    }
  }
}

class RopeTablesTest : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 1});
  std::unique_ptr<Queue> queue_ = backend_->make_queue("test");
};

TEST_F(RopeTablesTest, AnglesAreFp32ProductsUpToTheLastPosition) {
  constexpr int64_t kPositions = 131072;
  const RopeFrequencies frequencies = rope_frequencies(config(RopeType::kDefault, 500000.0), 16);
  const RopeTables tables(*backend_, *queue_, frequencies, kPositions);
  const std::vector<float> cos = download(*backend_, *queue_, tables.table().cos);
  const std::vector<float> sin = download(*backend_, *queue_, tables.table().sin);
  ASSERT_EQ(tables.table().cos.shape(), (Shape{kPositions, 8}));
  double furthest = 0;
  for (const int64_t position : {0, 1, 4095, 100003, 131071}) {
    for (int64_t j = 0; j < 8; ++j) {
      const float angle = static_cast<float>(position) * frequencies.inv_freq[j];
      EXPECT_NEAR(cos[position * 8 + j], std::cos(static_cast<double>(angle)), 1e-7) << position << " " << j;
      EXPECT_NEAR(sin[position * 8 + j], std::sin(static_cast<double>(angle)), 1e-7) << position << " " << j;
      const double exact =
          static_cast<double>(position) * std::pow(500000.0, -2.0 * static_cast<double>(j) / 16.0);
      furthest = std::max(furthest, std::abs(exact - static_cast<double>(angle)));
    }
  }
  EXPECT_GT(furthest,
            5e-4);  // the definition is not that of exact angles, and this table shows which one it is
}

TEST_F(RopeTablesTest, BlocksLieAtTheirFirstTokens) {
  RopeFrequencies frequencies = rope_frequencies(config(RopeType::kDefault, 10000.0), 8);
  const RopeTables tokens(*backend_, *queue_, frequencies, 641);
  const RopeTables blocks(*backend_, *queue_, frequencies, 11, 64);
  const std::vector<float> cos = download(*backend_, *queue_, tokens.table().cos);
  const std::vector<float> sin = download(*backend_, *queue_, tokens.table().sin);
  const std::vector<float> block_cos = download(*backend_, *queue_, blocks.table().cos);
  const std::vector<float> block_sin = download(*backend_, *queue_, blocks.table().sin);
  for (int64_t block = 0; block < 11; ++block) {
    for (int64_t j = 0; j < 4; ++j) {
      EXPECT_EQ(block_cos[block * 4 + j], cos[block * 64 * 4 + j]);
      EXPECT_EQ(block_sin[block * 4 + j], sin[block * 64 * 4 + j]);
    }
  }
  const RopeTables pieces(*backend_, *queue_, frequencies, 10, 64,
                          4);  // of each block, one table behind the other
  const std::vector<float> piece_cos = download(*backend_, *queue_, pieces.table().cos);
  for (int64_t row = 0; row < 40; ++row) {
    for (int64_t j = 0; j < 4; ++j) {
      EXPECT_EQ(piece_cos[row * 4 + j], cos[(row % 10 * 64 + row / 10 * 16) * 4 + j]);
    }
  }
  frequencies.attention_scaling = 1.5F;
  const RopeTables scaled(*backend_, *queue_, frequencies, 641);
  const std::vector<float> scaled_cos = download(*backend_, *queue_, scaled.table().cos);
  for (size_t i = 0; i < cos.size(); ++i) EXPECT_EQ(scaled_cos[i], cos[i] * 1.5F);
  EXPECT_GE(scaled.bytes(), RopeTables::bytes_for(8, 641));
}

}  // namespace
}  // namespace seer::test
