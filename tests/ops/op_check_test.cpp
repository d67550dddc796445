// Runs every case of every operation on every backend: against its fp64 reference, and for the same bits every time
// and whatever the number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <ostream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/ops/op_case.h"

namespace seer::test {

void PrintTo(const OpCase& op, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << op.name;
}

Comparison compare(const Values& actual, const Expectation& expected) {
  Comparison out;
  if (actual.size() != expected.values.size()) {
    out.message = fmt::format("{} elements instead of {}", actual.size(), expected.values.size());
    return out;
  }
  double difference = 0;
  double norm = 0;
  double worst = -1;
  size_t place = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = actual[i];
    const double b = expected.values[i];
    if (!std::isfinite(a) || !std::isfinite(b)) {
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      out.message = fmt::format("element {} is {} instead of {}", i, a, b);
      return out;
    }
    difference += (a - b) * (a - b);
    norm += b * b;
    if (std::abs(a - b) > worst) {
      worst = std::abs(a - b);
      place = i;
    }
  }
  out.error = std::sqrt(difference / (norm > 0 ? norm : 1.0));
  out.good = out.error <= expected.tolerance;
  if (worst >= 0) {
    out.message = fmt::format("relative error {:.2e}, worst element {}: {} instead of {}", out.error, place,
                              actual[place], expected.values[place]);
  }
  return out;
}

namespace {

OpCases all_cases() {
  OpCases all;
  const bool f64 = backends().front().computes_f64;
  for (auto* list :
       {elementwise_cases, rms_norm_cases, linear_cases, rope_cases, attention_cases, target_cases,
        pool_cases, head_linear_cases, gate_scores_cases, kl_loss_cases, recall_cases, optimizer_cases,
        select_cases, kept_recall_cases, block_scores_cases, sparse_attention_cases, token_nll_cases}) {
    std::ranges::copy_if(list(), std::back_inserter(all),
                         [&](const OpCase& op) { return f64 || !op.name.ends_with("_f64"); });
  }
  return all;
}

using Parameters = std::tuple<BackendChoice, OpCase>;

class OpMatch : public ::testing::TestWithParam<Parameters> {};

TEST_P(OpMatch, Reference) {
  const auto& [backend, op] = GetParam();
  Device device(backend.make());
  const Outputs outputs = op.run(device);
  const Expectations expectations = op.reference();
  ASSERT_EQ(outputs.size(), expectations.size());
  for (auto [name, expected] : expectations) {
    expected.tolerance *= backend.tolerance_factor;
    ASSERT_TRUE(outputs.contains(name)) << name;
    const Comparison comparison = compare(outputs.at(name), expected);
    EXPECT_TRUE(comparison.good) << name << ": " << comparison.message;
    RecordProperty(name, fmt::format("{:.2e}", comparison.error));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, OpMatch, ::testing::Combine(::testing::ValuesIn(backends()), ::testing::ValuesIn(all_cases())),
    [](const auto& test) {
      return fmt::format("{}_on_{}", std::get<1>(test.param).name, std::get<0>(test.param).name);
    });

class OpDeterminism : public ::testing::TestWithParam<OpCase> {};

TEST_P(OpDeterminism, SameBitsOnEveryBackendAndEveryTime) {
  Outputs first;
  for (const BackendChoice& backend : backends()) {
    for (int run = 0; run < 2; ++run) {
      Device device(backend.make());
      const Outputs outputs = GetParam().run(device);
      if (first.empty()) first = outputs;
      for (const auto& [name, values] : outputs) {
        const Values& reference = first.at(name);
        ASSERT_EQ(values.size(), reference.size());
        EXPECT_EQ(std::memcmp(values.data(), reference.data(), values.size() * sizeof(double)), 0)
            << name << " on " << backend.name << ", run " << run;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, OpDeterminism, ::testing::ValuesIn(all_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace seer::test
