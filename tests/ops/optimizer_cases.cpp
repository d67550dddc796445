// sum_parts, add_squared_norm and adamw.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

OpCase squared_norm(int64_t count, const std::string& size, double scale) {
  const Values x = random_values(110, count, scale);
  return {fmt::format("add_squared_norm_{}_{}", count, size),
          [=](Device& device) -> Outputs {
            const Tensor slot = device.upload(Shape{1}, {0.5}, DType::kF64);
            device.backend().add_squared_norm(device.queue(), device.upload(Shape{count}, x), slot,
                                              device.workspace(device.backend().norm_workspace(count)));
            return {{"slot", device.download(slot)}};
          },
          [=]() -> Expectations {
            double sum = 0.5;
            for (const double value : x) sum += value * value;
            return {{"slot", {{sum}, 1e-13}}};
          }};
}

/// Exactly the sum in tree order; `in_place`: into the first of the parts, as partial sums of micro-batches are made.
OpCase sum_parts(int64_t count, int64_t size, bool in_place) {
  const Values parts = random_values(115, count * size, 3.0);
  return {fmt::format("sum_parts_{}x{}{}", count, size, in_place ? "_in_place" : ""),
          [=](Device& device) -> Outputs {
            const Tensor from = in_place ? device.upload(Shape{count, size}, parts)
                                         : device.upload_strided(Shape{count, size}, parts);
            const Tensor out =
                in_place ? from.slice_rows(0, 1).reshape(Shape{size}) : device.output(Shape{size});
            device.backend().sum_parts(device.queue(), from, out);
            return {{"out", device.download(out)}};
          },
          [=]() -> Expectations {
            Values out;
            for (int64_t i = 0; i < size; ++i) {
              const std::function<float(int64_t, int64_t)> sum = [&](int64_t begin, int64_t n) -> float {
                if (n == 1) return static_cast<float>(parts[begin * size + i]);
                const int64_t half = (n + 1) / 2;
                return sum(begin, half) + sum(begin + half, n - half);
              };
              out.push_back(sum(0, count));
            }
            return {{"out", {out}}};
          }};
}

struct AdamCase {
  std::string name;
  int64_t steps = 20;
  double max_grad_norm = 1.0;
  double weight_decay = 0.0;
  double gradient_scale = 1.0;
  double warmup = 0;  ///< Steps of a rising learning rate, the first of which is 0
  int64_t count = 16401;
};

/// Moving gradients, so that neither moment is constant.
Values gradients_of(const AdamCase& c, int64_t step) {
  return random_values(120 + step % 7, c.count, c.gradient_scale / (1.0 + static_cast<double>(step)));
}

double rate(const AdamCase& c, int64_t step) {
  return c.warmup > 0 ? 1e-2 * std::min(1.0, static_cast<double>(step) / c.warmup) : 1e-2;
}

OpCase adamw(const AdamCase& c) {
  const Values weights = random_values(111, c.count);
  return {"adamw_" + c.name,
          [=](Device& device) -> Outputs {
            const Shape shape{c.count};
            const Tensor w = device.upload(shape, weights);
            const Tensor m = device.zeros(shape);
            const Tensor v = device.zeros(shape);
            for (int64_t step = 0; step < c.steps; ++step) {
              const Tensor gradients = device.upload(shape, gradients_of(c, step));
              const Tensor norm = device.zeros(Shape{1}, DType::kF64);
              device.backend().add_squared_norm(device.queue(), gradients, norm,
                                                device.workspace(device.backend().norm_workspace(c.count)));
              device.backend().adamw(device.queue(), {.weights = w,
                                                      .gradients = gradients,
                                                      .first_moment = m,
                                                      .second_moment = v,
                                                      .norm_squared = norm,
                                                      .not_finite = device.zeros(Shape{2}, DType::kF64),
                                                      .max_grad_norm = c.max_grad_norm,
                                                      .learning_rate = rate(c, step),
                                                      .beta1 = 0.9,
                                                      .beta2 = 0.999,
                                                      .eps = 1e-8,
                                                      .weight_decay = c.weight_decay,
                                                      .step = step});
            }
            Values change = device.download(w);
            for (int64_t i = 0; i < c.count; ++i) change[i] -= weights[i];
            return {{"change", change},
                    {"first_moment", device.download(m)},
                    {"second_moment", device.download(v)}};
          },
          [=]() -> Expectations {
            Values w = weights;
            Values m(c.count, 0.0);
            Values v(c.count, 0.0);
            for (int64_t step = 0; step < c.steps; ++step) {
              const Values g = gradients_of(c, step);
              double norm = 0;
              for (const double value : g) norm += value * value;
              norm = std::sqrt(norm);
              const double clip = c.max_grad_norm > 0 ? std::min(1.0, c.max_grad_norm / (norm + 1e-6)) : 1.0;
              const double lr = rate(c, step);
              for (int64_t i = 0; i < c.count; ++i) {
                const double gradient = g[i] * clip;
                m[i] = 0.9 * m[i] + 0.1 * gradient;
                v[i] = 0.999 * v[i] + 0.001 * gradient * gradient;
                const double m_hat = m[i] / (1.0 - std::pow(0.9, static_cast<double>(step + 1)));
                const double v_hat = v[i] / (1.0 - std::pow(0.999, static_cast<double>(step + 1)));
                w[i] -= lr * c.weight_decay * w[i];
                w[i] -= lr * m_hat / (std::sqrt(v_hat) + 1e-8);
              }
            }
            for (int64_t i = 0; i < c.count; ++i) w[i] -= weights[i];
            // Weights are fp32 and rounded in every step: the change is small beside them.
            return {{"change", {w, 1e-5}},
                    {"first_moment", {m, kF32Tolerance}},
                    {"second_moment", {v, kF32Tolerance}}};
          }};
}

/// Nothing may change, whatever says that the gradients are bad.
OpCase refused(const std::string& name, double norm_squared, const Values& flags) {
  const Values weights = random_values(112, 300);
  const Values gradients = random_values(113, 300);
  const Values moments = random_values(114, 300);
  return {"adamw_refuses_" + name,
          [=](Device& device) -> Outputs {
            const Shape shape{300};
            const Tensor w = device.upload(shape, weights);
            const Tensor m = device.upload(shape, moments);
            const Tensor v = device.upload(shape, moments);
            device.backend().adamw(
                device.queue(),
                {.weights = w,
                 .gradients = device.upload(shape, gradients),
                 .first_moment = m,
                 .second_moment = v,
                 .norm_squared = device.upload(Shape{1}, {norm_squared}, DType::kF64),
                 .not_finite = device.upload(Shape{static_cast<int64_t>(flags.size())}, flags, DType::kF64),
                 .max_grad_norm = 1.0,
                 .learning_rate = 1e-2,
                 .beta1 = 0.9,
                 .beta2 = 0.999,
                 .eps = 1e-8,
                 .weight_decay = 0.1,
                 .step = 3});
            return {{"weights", device.download(w)},
                    {"first_moment", device.download(m)},
                    {"second_moment", device.download(v)}};
          },
          [=]() -> Expectations {
            return {{"weights", {weights}}, {"first_moment", {moments}}, {"second_moment", {moments}}};
          }};
}

}  // namespace

OpCases optimizer_cases() {
  return {squared_norm(1, "ordinary", 1.0),
          squared_norm(16384, "ordinary", 1.0),
          squared_norm(50001, "ordinary", 1.0),
          squared_norm(40000, "large", 1e25),  // squares overflow in fp32
          squared_norm(40000, "small", 1e-30),
          sum_parts(1, 5, false),
          sum_parts(2, 1000, true),
          sum_parts(2, 1001, true),
          sum_parts(3, 1024, false),
          sum_parts(7, 300, false),
          sum_parts(8, 4096, false),
          sum_parts(13, 77, true),
          adamw({"clipped"}),
          adamw({"not_clipped", 20, 0.0}),
          adamw({"small_norm", 20, 1.0, 0.0, 1e-4}),
          adamw({"norm_like_the_1e_6_beside_it", 20, 1e-6, 0.0, 1e-6, 0, 1}),
          adamw({"weight_decay", 20, 1.0, 0.1}),
          adamw({"warmup_from_zero", 20, 1.0, 0.0, 1.0, 5}),
          adamw({"one_step", 1}),
          adamw({"one_weight", 20, 1.0, 0.0, 1.0, 0, 1}),
          refused("a_flag", 1.0, {0.0, 1.0}),
          refused("the_first_flag", 1.0, {1.0}),
          refused("a_nan_norm", std::numeric_limits<double>::quiet_NaN(), {0.0}),
          refused("an_infinite_norm", std::numeric_limits<double>::infinity(), {0.0, 0.0})};
}

}  // namespace seer::test
