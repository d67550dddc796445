// linear: x W^T + bias over stacked weights.
#include <algorithm>

#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

struct Part {
  int64_t outputs;
  DType dtype = DType::kF32;
  bool bias = false;
};

struct LinearCase {
  std::string name;
  int64_t rows;
  int64_t in;
  std::vector<Part> parts;
  LinearOutput mode = LinearOutput::kStore;
  bool strided = false;
};

OpCase linear(const LinearCase& c) {
  const Values x = random_values(20, c.rows * c.in);
  int64_t outputs = 0;
  std::vector<Values> weights;
  std::vector<Values> biases;
  for (const Part& part : c.parts) {
    weights.push_back(random_values(21 + outputs, part.outputs * c.in, 0.2, part.dtype));
    biases.push_back(random_values(22 + outputs, part.outputs, 1.0, part.dtype));
    outputs += part.outputs;
  }
  const Values before = random_values(23, c.rows * outputs);
  return {"linear_" + c.name,
          [=](Device& device) -> Outputs {
            StackedLinear w;
            for (const Part& part : c.parts) {
              const int i = w.parts++;
              const DType dtype = device.backend().weight_dtype(part.dtype);
              w.weight[i] = device.upload(Shape{part.outputs, c.in}, weights[i], dtype);
              if (part.bias) w.bias[i] = device.upload(Shape{part.outputs}, biases[i], dtype);
            }
            const Shape in_shape{c.rows, c.in};
            const Shape out_shape{c.rows, outputs};
            const Tensor input = c.strided ? device.upload_strided(in_shape, x) : device.upload(in_shape, x);
            const bool add = c.mode == LinearOutput::kAdd;
            const Tensor out =
                c.strided
                    ? (add ? device.upload_strided(out_shape, before) : device.output_strided(out_shape))
                    : (add ? device.upload(out_shape, before) : device.output(out_shape));
            device.backend().linear(device.queue(), input, w, c.mode, out,
                                    device.workspace(device.backend().linear_workspace(w)));
            return {{"out", device.download(out)}, {"gaps", {device.gaps_untouched(out) ? 1.0 : 0.0}}};
          },
          [=]() -> Expectations {
            Values out(c.rows * outputs);
            int64_t column = 0;
            for (size_t p = 0; p < c.parts.size(); ++p) {
              for (int64_t s = 0; s < c.rows; ++s) {
                for (int64_t o = 0; o < c.parts[p].outputs; ++o) {
                  double sum = c.parts[p].bias ? biases[p][o] : 0.0;
                  for (int64_t i = 0; i < c.in; ++i) sum += x[s * c.in + i] * weights[p][o * c.in + i];
                  const int64_t at = s * outputs + column + o;
                  out[at] = sum + (c.mode == LinearOutput::kAdd ? before[at] : 0.0);
                }
              }
              column += c.parts[p].outputs;
            }
            return {{"out", {out, kF32Tolerance}}, {"gaps", {{1.0}}}};
          }};
}

}  // namespace

OpCases linear_cases() {
  OpCases cases;
  const Part plain{33};
  for (const int64_t rows : {1, 2, 255, 256, 257, 513}) {
    cases.push_back(linear({fmt::format("rows_{}", rows), rows, 61, {plain}}));
    cases.push_back(linear({fmt::format("stacked_rows_{}", rows),
                            rows,
                            48,
                            {{40, DType::kBF16, true}, {17, DType::kBF16, true}, {5, DType::kBF16, true}},
                            LinearOutput::kStore,
                            true}));
  }
  for (const int64_t outputs : {1, 255, 257, 600}) {
    cases.push_back(linear({fmt::format("outputs_{}", outputs), 9, 70, {{outputs, DType::kBF16, true}}}));
  }
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const std::string weights = suffix_of(dtype);
    cases.push_back(linear({"add" + weights, 130, 97, {{50, dtype, false}}, LinearOutput::kAdd}));
    cases.push_back(
        linear({"add_bias_strided" + weights, 257, 31, {{300, dtype, true}}, LinearOutput::kAdd, true}));
    cases.push_back(
        linear({"store_strided" + weights, 257, 31, {{300, dtype, true}}, LinearOutput::kStore, true}));
  }
  cases.push_back(linear({"mixed_dtypes",
                          65,
                          24,
                          {{258, DType::kF16, true}, {3, DType::kF32, false}, {20, DType::kBF16, true}},
                          LinearOutput::kAdd,
                          true}));
  cases.push_back(linear({"one_input", 5, 1, {{7, DType::kBF16, true}}}));
  return cases;
}

}  // namespace seer::test
