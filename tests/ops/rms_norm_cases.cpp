// rms_norm and its backward.
#include <cmath>

#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

struct NormCase {
  std::string name;
  Shape shape;
  DType dtype = DType::kF32;
  double eps = 1e-6;
  double scale = 1.0;
  bool strided = false;
  bool in_place = false;
};

OpCase forward(const NormCase& c) {
  const int64_t channels = c.shape[c.shape.rank() - 1];
  const Values x = random_values(10, c.shape.numel(), c.scale);
  const Values weight = random_values(11, channels);
  return {fmt::format("rms_norm_{}{}", c.name, suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            const Tensor input =
                c.strided ? device.upload_strided(c.shape, x, c.dtype) : device.upload(c.shape, x, c.dtype);
            const Tensor out = c.in_place  ? input
                               : c.strided ? device.output_strided(c.shape, c.dtype)
                                           : device.output(c.shape, c.dtype);
            device.backend().rms_norm(device.queue(), input, device.upload(Shape{channels}, weight, c.dtype),
                                      c.eps, out);
            return {{"out", device.download(out)}, {"gaps", {device.gaps_untouched(out) ? 1.0 : 0.0}}};
          },
          [=]() -> Expectations {
            Values out(x.size());
            for (size_t first = 0; first < x.size(); first += channels) {
              double squares = 0;
              for (int64_t i = 0; i < channels; ++i) squares += x[first + i] * x[first + i];
              const double rms = std::sqrt(squares / static_cast<double>(channels) + c.eps);
              for (int64_t i = 0; i < channels; ++i) out[first + i] = x[first + i] / rms * weight[i];
            }
            return {{"out", {out, tolerance_of(c.dtype)}}, {"gaps", {{1.0}}}};
          }};
}

/// On top of weight gradients that are there already.
OpCase backward(const NormCase& c) {
  const int64_t channels = c.shape[c.shape.rank() - 1];
  const Values x = random_values(12, c.shape.numel(), c.scale);
  const Values dy = random_values(13, c.shape.numel());
  const Values weight = random_values(14, channels);
  const Values before = random_values(15, channels);
  return {fmt::format("rms_norm_backward_{}{}", c.name, suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            const auto input = [&](const Values& values) {
              return c.strided ? device.upload_strided(c.shape, values, c.dtype)
                               : device.upload(c.shape, values, c.dtype);
            };
            const Tensor out_gradient = input(dy);
            const Tensor x_gradient = c.in_place  ? out_gradient
                                      : c.strided ? device.output_strided(c.shape, c.dtype)
                                                  : device.output(c.shape, c.dtype);
            const Tensor w_gradient = device.upload(Shape{channels}, before, c.dtype);
            device.backend().rms_norm_backward(device.queue(), input(x),
                                               device.upload(Shape{channels}, weight, c.dtype), c.eps,
                                               out_gradient, x_gradient, w_gradient);
            return {{"x_gradient", device.download(x_gradient)}, {"w_gradient", device.download(w_gradient)}};
          },
          [=]() -> Expectations {
            // y_i = w_i x_i / r with r = sqrt(sum x^2 / C + eps), so d y_i / d x_j = w_i (delta_ij / r - x_i
            // x_j / (C r^3)).
            Values dx(x.size());
            Values dw = before;
            for (size_t first = 0; first < x.size(); first += channels) {
              double squares = 0;
              for (int64_t i = 0; i < channels; ++i) squares += x[first + i] * x[first + i];
              const auto count = static_cast<double>(channels);
              const double r = std::sqrt(squares / count + c.eps);
              for (int64_t j = 0; j < channels; ++j) {
                for (int64_t i = 0; i < channels; ++i) {
                  const double delta = i == j ? 1.0 / r : 0.0;
                  dx[first + j] +=
                      dy[first + i] * weight[i] * (delta - x[first + i] * x[first + j] / (count * r * r * r));
                }
                dw[j] += dy[first + j] * x[first + j] / r;
              }
            }
            return {{"x_gradient", {dx, tolerance_of(c.dtype)}}, {"w_gradient", {dw, tolerance_of(c.dtype)}}};
          }};
}

}  // namespace

OpCases rms_norm_cases() {
  OpCases cases;
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    cases.push_back(forward({"rows", Shape{131, 77}, dtype}));
    cases.push_back(forward({"one_row", Shape{1, 1}, dtype}));
    cases.push_back(forward({"heads_strided", Shape{67, 3, 20}, dtype, 1e-6, 1.0, true}));
    cases.push_back(forward({"heads_strided_in_place", Shape{67, 3, 20}, dtype, 1e-5, 1.0, true, true}));
    cases.push_back(forward({"eps_matters", Shape{9, 64}, dtype, 1e-2, 0.05}));
    cases.push_back(forward({"large_values", Shape{9, 1030}, dtype, 1e-6, 1e4}));
    cases.push_back(backward({"rows", Shape{70, 33}, dtype, 1e-6}));
    cases.push_back(backward({"heads_in_place", Shape{65, 2, 16}, dtype, 1e-6, 1.0, false, true}));
    cases.push_back(backward({"strided", Shape{66, 3, 20}, dtype, 1e-6, 1.0, true}));
    cases.push_back(backward({"strided_in_place", Shape{66, 3, 20}, dtype, 1e-6, 1.0, true, true}));
    cases.push_back(backward({"eps_matters", Shape{5, 18}, dtype, 1e-2, 0.05}));
  }
  return cases;
}

}  // namespace seer::test
