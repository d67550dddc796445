// Operations with bf16 activations, as training uses them, against the CPU backend in fp32 on the same values:
// they compute in fp32 and round once, linear() at most twice. Attention is fused_attention_test.cpp's; the
// gates' operations that know no bf16 are tested in tests/ops.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <ostream>

#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "src/cpu/cpu_backend.h"
#include "tests/cuda/bf16_case.h"
#include "tests/support/golden_file.h"

namespace seer::test {

void PrintTo(const Bf16Case& op, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << op.name;
}

namespace {

Bf16Cases all_cases() {
  Bf16Cases all;
  for (auto* list : {bf16_elementwise_cases, bf16_rms_norm_cases, bf16_linear_cases, bf16_rope_cases,
                     bf16_gate_cases, bf16_sparse_cases}) {
    std::ranges::move(list(), std::back_inserter(all));
  }
  return all;
}

/// Relative Frobenius error, and that of each element beside `small` of a typical one: sums may cancel, so that
/// the fp32 error is that of their terms.
struct Tolerance {
  double frobenius;
  double relative;
  double small;
};
constexpr Tolerance kFp32 = {2e-6, 2e-6, 1e-5};
constexpr Tolerance kBf16 = {2.5e-3, 1.0 / 256, 1e-4};
constexpr Tolerance kBf16Product = {2.5e-3, 1.0 / 256, 1.0 / 64};  // half an ulp of four times the typical

void expect_close(const Values& actual, const Values& expected, const Tolerance& tolerance) {
  EXPECT_LE(relative_error(actual, expected), tolerance.frobenius);
  double squares = 0;
  for (const double value : expected) squares += value * value;
  const double typical = std::sqrt(squares / static_cast<double>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_LE(std::abs(actual[i] - expected[i]),
              tolerance.relative * std::abs(expected[i]) + tolerance.small * typical)
        << "element " << i << " is " << actual[i] << " instead of " << expected[i];
  }
}

void expect_close(const Output& actual, const Output& expected) {
  ASSERT_EQ(actual.values.size(), expected.values.size());
  switch (expected.rounding) {
    case Rounding::kNone:
      EXPECT_EQ(actual.values, expected.values);
      return;
    case Rounding::kFp32:
      return expect_close(actual.values, expected.values, kFp32);
    case Rounding::kBf16:
      return expect_close(actual.values, expected.values, kBf16);
    case Rounding::kBf16Product:
      return expect_close(actual.values, expected.values, kBf16Product);
  }
}

class Bf16Ops : public testing::TestWithParam<Bf16Case> {
 protected:
  Device device_{make_cuda_backend({.precision = CudaPrecision::kBf16})};
};

TEST_P(Bf16Ops, MatchTheCpu) {
  Device cpu(make_cpu_backend({.threads = 2}));
  const Outputs expected = GetParam().run(cpu);
  const Outputs actual = GetParam().run(device_);
  const Outputs again = GetParam().run(device_);
  for (const auto& [name, output] : expected) {
    SCOPED_TRACE(name);
    expect_close(actual.at(name), output);
    EXPECT_EQ(actual.at(name).values, again.at(name).values) << "the same inputs gave other bits";
  }
}

INSTANTIATE_TEST_SUITE_P(All, Bf16Ops, testing::ValuesIn(all_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace seer::test
