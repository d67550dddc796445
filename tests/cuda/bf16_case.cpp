#include "tests/cuda/bf16_case.h"

#include <algorithm>
#include <cmath>

namespace seer::test {

std::string name_of(Rows rows) {
  return rows == Rows::kDense ? "dense" : rows == Rows::kColumns ? "columns" : "odd";
}

Activation::Activation(Device& device, const Shape& shape, Rows rows)
    : Activation(device, shape, rows, Values(shape.numel(), kNaN)) {}

Activation::Activation(Device& device, const Shape& shape, Rows rows, const Values& values)
    : device_(device) {
  const int64_t width = shape.numel() / shape[0];
  int64_t stride = width;
  if (rows == Rows::kColumns) {
    begin_ = 16;
    stride = (width + 15) / 16 * 16 + 32;
  } else if (rows == Rows::kOdd) {
    begin_ = 3;
    stride = width / 2 * 2 + 9;
  }
  Values all(shape[0] * stride, kNaN);
  for (int64_t r = 0; r < shape[0]; ++r) {
    std::copy_n(values.begin() + r * width, width, all.begin() + r * stride + begin_);
  }
  buffer_ = device.upload(Shape{shape[0], stride}, all, act(device));
  auto* first = static_cast<char*>(buffer_.raw()) + begin_ * size_of(act(device));
  tensor_ = Tensor(first, act(device), shape, stride);
}

bool Activation::gaps_untouched() const {
  const Values all = device_.download(buffer_);
  for (int64_t at = 0; at < static_cast<int64_t>(all.size()); ++at) {
    const int64_t column = at % buffer_.row_size() - begin_;
    if ((column < 0 || column >= tensor_.row_size()) && !std::isnan(all[at])) return false;
  }
  return true;
}

Outputs outputs_of(const Activation& out, Rounding rounding) {
  return {{"out", {out.download(), rounding}},
          {"gaps", {{out.gaps_untouched() ? 1.0 : 0.0}, Rounding::kNone}}};
}

}  // namespace seer::test
