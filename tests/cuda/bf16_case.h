// One call of one operation with bf16 activations, and the tensors that such calls take. Cases are listed by family
// in bf16_*_cases.cpp; bf16_ops_test.cpp runs them all.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tests/ops/device.h"

namespace seer::test {

inline const double kNaN = std::numeric_limits<double>::quiet_NaN();

/// How the rows of an activation lie.
enum class Rows {
  kDense,
  kColumns,  ///< Columns of a wider buffer, all at multiples of 16 bytes: a part of a projection
  kOdd,      ///< Columns of a wider buffer that keeps nothing aligned
};
inline constexpr Rows kAllRows[] = {Rows::kDense, Rows::kColumns, Rows::kOdd};
std::string name_of(Rows rows);

inline DType act(Device& device) {
  return device.backend().activation_dtype();
}

/// A tensor of the backend's activation dtype. What lies between its rows is NaN.
class Activation {
 public:
  /// An output: NaN, so that an element that is not written shows.
  Activation(Device& device, const Shape& shape, Rows rows);
  Activation(Device& device, const Shape& shape, Rows rows, const Values& values);

  operator Tensor() const { return tensor_; }       // NOLINT(google-explicit-constructor)
  operator ConstTensor() const { return tensor_; }  // NOLINT(google-explicit-constructor)

  Values download() const { return device_.download(tensor_); }

  /// What lies between the rows is as it was.
  bool gaps_untouched() const;

 private:
  Device& device_;
  int64_t begin_ = 0;
  Tensor buffer_;
  Tensor tensor_;
};

/// What may lie between an output and the CPU's.
enum class Rounding {
  kNone,         ///< The same values
  kFp32,         ///< fp32 sums in another order
  kBf16,         ///< The same, rounded to bf16 once
  kBf16Product,  ///< A product rounded to bf16, and again after a bias or the residual was added
};

struct Output {
  Values values;
  Rounding rounding;
};
using Outputs = std::map<std::string, Output>;
Outputs outputs_of(const Activation& out, Rounding rounding = Rounding::kBf16);

/// One call on random inputs that bf16 holds exactly; runs on either backend.
struct Bf16Case {
  std::string name;
  std::function<Outputs(Device&)> run;
};
using Bf16Cases = std::vector<Bf16Case>;

inline Values bf16_values(uint64_t seed, int64_t count, double scale = 1.0) {
  return random_values(seed, count, scale, DType::kBF16);
}

Bf16Cases bf16_elementwise_cases();
Bf16Cases bf16_rms_norm_cases();
Bf16Cases bf16_linear_cases();
Bf16Cases bf16_rope_cases();
Bf16Cases bf16_gate_cases();
Bf16Cases bf16_sparse_cases();

}  // namespace seer::test
