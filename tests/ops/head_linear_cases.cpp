// head_linear and head_linear_backward, with the three ways in which heads of x and of w meet: one matrix for
// each head (query linear, key linear of double gates), or the matrices of the query heads of a kv head
// (key linear of single gates).
#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

struct HeadLinearCase {
  std::string name;
  int64_t rows;
  int64_t x_heads;
  int64_t w_heads;
  int64_t in;
  int64_t width;
  DType dtype = DType::kF32;
  bool strided = false;
};

Tensor input(Device& device, const HeadLinearCase& c, const Values& x) {
  const Shape shape{c.rows, c.x_heads, c.in};
  return c.strided ? device.upload_strided(shape, x, c.dtype) : device.upload(shape, x, c.dtype);
}

OpCase forward(const HeadLinearCase& c) {
  const Values x = random_values(50, c.rows * c.x_heads * c.in);
  const Values w = random_values(51, c.w_heads * c.in * c.width, 0.3);
  return {fmt::format("head_linear_{}{}", c.name, suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            const Tensor out = device.output(Shape{c.rows, c.w_heads, c.width}, c.dtype);
            device.backend().head_linear(device.queue(), input(device, c, x),
                                         device.upload(Shape{c.w_heads, c.in, c.width}, w, c.dtype), out);
            return {{"out", device.download(out)}};
          },
          [=]() -> Expectations {
            Values out(c.rows * c.w_heads * c.width);
            for (int64_t r = 0; r < c.rows; ++r) {
              for (int64_t h = 0; h < c.w_heads; ++h) {
                const int64_t x_head = h / (c.w_heads / c.x_heads);
                for (int64_t o = 0; o < c.width; ++o) {
                  for (int64_t i = 0; i < c.in; ++i) {
                    out[(r * c.w_heads + h) * c.width + o] +=
                        x[(r * c.x_heads + x_head) * c.in + i] * w[(h * c.in + i) * c.width + o];
                  }
                }
              }
            }
            return {{"out", {out, tolerance_of(c.dtype)}}};
          }};
}

OpCase backward(const HeadLinearCase& c) {
  const Values x = random_values(52, c.rows * c.x_heads * c.in);
  const Values dy = random_values(53, c.rows * c.w_heads * c.width);
  const Values before = random_values(54, c.w_heads * c.in * c.width);
  return {fmt::format("head_linear_backward_{}{}", c.name, suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            const Tensor w_gradient = device.upload(Shape{c.w_heads, c.in, c.width}, before, c.dtype);
            device.backend().head_linear_backward(
                device.queue(), input(device, c, x),
                device.upload(Shape{c.rows, c.w_heads, c.width}, dy, c.dtype), w_gradient);
            return {{"w_gradient", device.download(w_gradient)}};
          },
          [=]() -> Expectations {
            Values dw = before;
            for (int64_t h = 0; h < c.w_heads; ++h) {
              const int64_t x_head = h / (c.w_heads / c.x_heads);
              for (int64_t i = 0; i < c.in; ++i) {
                for (int64_t o = 0; o < c.width; ++o) {
                  for (int64_t r = 0; r < c.rows; ++r) {
                    dw[(h * c.in + i) * c.width + o] +=
                        x[(r * c.x_heads + x_head) * c.in + i] * dy[(r * c.w_heads + h) * c.width + o];
                  }
                }
              }
            }
            return {{"w_gradient", {dw, tolerance_of(c.dtype)}}};
          }};
}

}  // namespace

OpCases head_linear_cases() {
  OpCases cases;
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const HeadLinearCase& c : {HeadLinearCase{"query_heads", 129, 6, 6, 20, 12, dtype},
                                    HeadLinearCase{"kv_heads", 257, 2, 2, 130, 9, dtype, true},
                                    HeadLinearCase{"kv_to_query_heads", 65, 2, 6, 48, 17, dtype},
                                    HeadLinearCase{"many_rows", 1001, 1, 2, 70, 66, dtype},
                                    HeadLinearCase{"one_row", 1, 1, 4, 257, 8, dtype, true},
                                    HeadLinearCase{"one_of_all", 1, 1, 1, 1, 1, dtype}}) {
      cases.push_back(forward(c));
      cases.push_back(backward(c));
    }
  }
  return cases;
}

}  // namespace seer::test
