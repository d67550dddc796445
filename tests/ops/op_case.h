// One case of one operation: run it on a device, and what must come out, computed in double in the most
// obvious way. Cases are listed in <op>_cases.cpp; op_check_test.cpp runs them all on every backend.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/ops/device.h"

namespace seer::test {

/// Everything a case computed, by name.
using Outputs = std::map<std::string, Values>;

struct Expectation {
  Values values;
  /// Largest allowed sqrt(sum (a-b)^2 / sum b^2) over finite elements; 0: the same values exactly. Infinities
  /// must agree exactly, and a NaN that is not expected fails.
  double tolerance = 0;
};
using Expectations = std::map<std::string, Expectation>;

struct OpCase {
  std::string name;  ///< Letters, digits and underscores
  std::function<Outputs(Device&)> run;
  std::function<Expectations()> reference;
};
using OpCases = std::vector<OpCase>;

// fp32 arithmetic over sums of some hundred terms, and fp64 over the same.
constexpr double kF32Tolerance = 5e-7;
constexpr double kF64Tolerance = 2e-15;
inline double tolerance_of(DType dtype) {
  return dtype == DType::kF64 ? kF64Tolerance : kF32Tolerance;
}
inline const char* suffix_of(DType dtype) {
  return dtype == DType::kF64   ? "_f64"
         : dtype == DType::kF32 ? "_f32"
         : dtype == DType::kF16 ? "_f16"
                                : "_bf16";
}

/// Where and by how much two outputs differ most, for messages.
struct Comparison {
  bool good = false;
  double error = 0;     ///< Relative Frobenius
  std::string message;  ///< Place and values of the worst element
};
Comparison compare(const Values& actual, const Expectation& expected);

OpCases elementwise_cases();
OpCases rms_norm_cases();
OpCases linear_cases();
OpCases rope_cases();
OpCases attention_cases();
OpCases target_cases();
OpCases pool_cases();
OpCases head_linear_cases();
OpCases gate_scores_cases();
OpCases kl_loss_cases();
OpCases recall_cases();
OpCases optimizer_cases();
OpCases select_cases();
OpCases kept_recall_cases();
OpCases block_scores_cases();
OpCases sparse_attention_cases();
OpCases token_nll_cases();

}  // namespace seer::test
