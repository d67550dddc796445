#include "trainer/eval/sampler.h"

#include <cmath>

#include <gtest/gtest.h>

namespace seer {
namespace {

constexpr int kDraws = 20000;

std::vector<double> frequencies(const SamplingOptions& options, const std::vector<float>& logits) {
  Sampler sampler(options);
  std::vector<double> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) counts[sampler.next(logits)] += 1.0 / kDraws;
  return counts;
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double deviation = std::sqrt(expected[i] * (1 - expected[i]) / kDraws);
    EXPECT_NEAR(actual[i], expected[i], 4 * deviation + 1e-9) << "token " << i;
  }
}

std::vector<float> logits_of(const std::vector<double>& p) {
  std::vector<float> logits;
  for (const double value : p) logits.push_back(static_cast<float>(std::log(value) + 3));
  return logits;
}

const std::vector<double> kP = {0.1, 0.4, 0.2, 0.3};

TEST(Sampler, TemperatureZeroTakesTheLikeliestAndOfEqualsTheFirst) {
  Sampler sampler({});
  EXPECT_EQ(sampler.next(std::vector<float>{-1, 3, 2}), 1);
  EXPECT_EQ(sampler.next(std::vector<float>{-1, 3, 3, 2}), 1);
  EXPECT_EQ(sampler.next(std::vector<float>{0}), 0);
}

TEST(Sampler, DrawsByProbability) {
  expect_near(frequencies({.temperature = 1}, logits_of(kP)), kP);
}

TEST(Sampler, TemperatureFlattens) {
  std::vector<double> expected;
  double sum = 0;
  for (const double p : kP) sum += std::sqrt(p);
  for (const double p : kP) expected.push_back(std::sqrt(p) / sum);
  expect_near(frequencies({.temperature = 2}, logits_of(kP)), expected);
  expect_near(frequencies({.temperature = 1e-300}, logits_of(kP)), {0, 1, 0, 0});
}

TEST(Sampler, TopPCutsTheTail) {
  expect_near(frequencies({.temperature = 1, .top_p = 0.65}, logits_of(kP)), {0, 4.0 / 7, 0, 3.0 / 7});
  expect_near(frequencies({.temperature = 1, .top_p = 0.75}, logits_of(kP)), {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
  expect_near(frequencies({.temperature = 1, .top_p = 1e-6}, logits_of(kP)), {0, 1, 0, 0});
}

TEST(Sampler, TheSeedDecides) {
  const std::vector<float> logits = logits_of(std::vector<double>(50, 0.02));
  const auto draws = [&](uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(sampler.next(logits));
    return ids;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
}

TEST(Sampler, NoLogitsAreRefused) {
  EXPECT_THROW(Sampler({}).next({}), std::exception);
}

}  // namespace
}  // namespace seer
