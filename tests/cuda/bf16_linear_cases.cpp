// Products of bf16 rows: stacked weights, biases, into the residual stream.
#include <algorithm>

#include "tests/cuda/bf16_case.h"

namespace seer::test {
namespace {

struct Part {
  int64_t outputs;
  bool bias = false;
};

struct LinearCase {
  std::string name;
  int64_t rows;
  int64_t in;
  std::vector<Part> parts;
  bool contiguous = false;  ///< Weights one behind the other, and biases
  LinearOutput mode = LinearOutput::kStore;
  Rows layout = Rows::kDense;
};

Outputs run_linear(Device& device, const LinearCase& c) {
  int64_t outputs = 0;
  for (const Part& part : c.parts) outputs += part.outputs;
  const DType dtype = device.backend().weight_dtype(DType::kBF16);
  const Values weights = bf16_values(5, outputs * c.in, 0.2);
  const Values biases = bf16_values(6, outputs);
  const Tensor stacked = device.upload(Shape{outputs, c.in}, weights, dtype);
  const Tensor stacked_bias = device.upload(Shape{outputs}, biases, dtype);
  StackedLinear w;
  int64_t first = 0;
  for (const Part& part : c.parts) {
    const auto own = [&](const Values& values, const Shape& shape, int64_t width) {
      const auto begin = values.begin() + first * width;
      return device.upload(shape, Values(begin, begin + shape.numel()), dtype);
    };
    const int i = w.parts++;
    w.weight[i] = c.contiguous ? stacked.slice_rows(first, part.outputs)
                               : own(weights, Shape{part.outputs, c.in}, c.in);
    if (part.bias) {
      w.bias[i] =
          c.contiguous ? stacked_bias.slice_rows(first, part.outputs) : own(biases, Shape{part.outputs}, 1);
    }
    first += part.outputs;
  }
  const Activation x(device, Shape{c.rows, c.in}, c.layout, bf16_values(7, c.rows * c.in));
  const Shape shape{c.rows, outputs};
  const Activation out = c.mode == LinearOutput::kAdd
                             ? Activation(device, shape, c.layout, bf16_values(8, shape.numel(), 2.0))
                             : Activation(device, shape, c.layout);
  device.backend().linear(device.queue(), x, w, c.mode, out,
                          device.workspace(device.backend().linear_workspace(w)));
  const bool adds = c.mode == LinearOutput::kAdd ||
                    std::ranges::any_of(c.parts, [](const Part& part) { return part.bias; });
  return outputs_of(out, adds ? Rounding::kBf16Product : Rounding::kBf16);
}

}  // namespace

Bf16Cases bf16_linear_cases() {
  std::vector<LinearCase> list;
  for (const int64_t rows : {1, 2, 255, 257, 513}) {
    list.push_back({fmt::format("rows_{}", rows), rows, 128, {{96}}});
    list.push_back({fmt::format("odd_rows_{}", rows), rows, 61, {{33, true}}});
  }
  for (const bool contiguous : {false, true}) {
    const std::string stack = contiguous ? "stacked" : "apart";
    for (const LinearOutput mode : {LinearOutput::kStore, LinearOutput::kAdd}) {
      const std::string store = mode == LinearOutput::kStore ? "store" : "add";
      for (const Rows layout : kAllRows) {
        const std::string name = fmt::format("{}_{}_{}", stack, store, name_of(layout));
        list.push_back({"two_" + name, 130, 96, {{64}, {64}}, contiguous, mode, layout});
        list.push_back(
            {"three_" + name, 67, 80, {{128, true}, {32, true}, {32, true}}, contiguous, mode, layout});
        list.push_back(
            {"three_odd_" + name, 67, 31, {{17, true}, {5, true}, {40, true}}, contiguous, mode, layout});
        list.push_back({"some_biased_" + name, 65, 24, {{16}, {16, true}, {8}}, contiguous, mode, layout});
      }
    }
  }
  for (const int64_t outputs : {1, 7, 255, 600}) {
    list.push_back({fmt::format("outputs_{}", outputs), 9, 70, {{outputs, true}}});
  }
  list.push_back({"one_input", 5, 1, {{7, true}}});
  list.push_back({"projection", 600, 2048, {{1024, true}, {256, true}, {256, true}}, true});
  list.push_back({"into_the_residual", 600, 2816, {{1024}}, false, LinearOutput::kAdd});
  list.push_back({"long_sums", 3, 20000, {{40}}, false, LinearOutput::kAdd});
  Bf16Cases cases;
  for (const LinearCase& c : list) {
    cases.push_back({"linear_" + c.name, [=](Device& device) { return run_linear(device, c); }});
  }
  return cases;
}

}  // namespace seer::test
