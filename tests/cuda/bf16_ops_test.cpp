// Operations with bf16 activations, as training uses them, against the CPU backend in fp32 on the same values:
// they compute in fp32 and round once, linear() at most twice. Attention is fused_attention_test.cpp's; the
// gates' operations know no bf16 and are tested in tests/ops.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <ostream>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "src/core/ceil_div.h"
#include "src/core/rng.h"
#include "src/cpu/cpu_backend.h"
#include "tests/ops/device.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

/// How the rows of an activation lie.
enum class Rows {
  kDense,
  kColumns,  ///< Columns of a wider buffer, all at multiples of 16 bytes: a part of a projection
  kOdd,      ///< Columns of a wider buffer that keeps nothing aligned
};
constexpr Rows kAllRows[] = {Rows::kDense, Rows::kColumns, Rows::kOdd};

std::string name_of(Rows rows) {
  return rows == Rows::kDense ? "dense" : rows == Rows::kColumns ? "columns" : "odd";
}

DType act(Device& device) {
  return device.backend().activation_dtype();
}

/// A tensor of the backend's activation dtype. What lies between its rows is NaN.
class Activation {
 public:
  /// An output: NaN, so that an element that is not written shows.
  Activation(Device& device, const Shape& shape, Rows rows)
      : Activation(device, shape, rows, Values(shape.numel(), kNaN)) {}

  Activation(Device& device, const Shape& shape, Rows rows, const Values& values) : device_(device) {
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

  operator Tensor() const { return tensor_; }       // NOLINT(google-explicit-constructor)
  operator ConstTensor() const { return tensor_; }  // NOLINT(google-explicit-constructor)

  Values download() const { return device_.download(tensor_); }

  /// What lies between the rows is as it was.
  bool gaps_untouched() const {
    const Values all = device_.download(buffer_);
    for (int64_t at = 0; at < static_cast<int64_t>(all.size()); ++at) {
      const int64_t column = at % buffer_.row_size() - begin_;
      if ((column < 0 || column >= tensor_.row_size()) && !std::isnan(all[at])) return false;
    }
    return true;
  }

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

/// One call on random inputs that bf16 holds exactly; runs on either backend.
struct Bf16Case {
  std::string name;
  std::function<Outputs(Device&)> run;
};

void PrintTo(const Bf16Case& op, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << op.name;
}

Values bf16_values(uint64_t seed, int64_t count, double scale = 1.0) {
  return random_values(seed, count, scale, DType::kBF16);
}

Outputs outputs_of(const Activation& out, Rounding rounding = Rounding::kBf16) {
  return {{"out", {out.download(), rounding}},
          {"gaps", {{out.gaps_untouched() ? 1.0 : 0.0}, Rounding::kNone}}};
}

// ---- cases

std::vector<Bf16Case> embed_cases() {
  std::vector<Bf16Case> cases;
  for (const Rows layout : kAllRows) {
    for (const auto& [tokens, channels] : {std::pair{37, 64}, {5, 33}, {1, 1}, {300, 1032}}) {
      cases.push_back({fmt::format("embed_{}x{}_{}", tokens, channels, name_of(layout)), [=](Device& device) {
                         constexpr int64_t kVocabulary = 50;
                         std::vector<int32_t> ids;
                         Rng rng(1);
                         for (int i = 0; i < tokens; ++i)
                           ids.push_back(static_cast<int32_t>(rng.below(kVocabulary)));
                         ids.back() = kVocabulary - 1;
                         const Tensor table = device.upload(Shape{kVocabulary, channels},
                                                            bf16_values(2, kVocabulary * channels),
                                                            device.backend().weight_dtype(DType::kBF16));
                         const Activation out(device, Shape{tokens, channels}, layout);
                         device.backend().embed(device.queue(), device.upload_ids(ids), table, out);
                         return outputs_of(out, Rounding::kNone);
                       }});
    }
  }
  return cases;
}

std::vector<Bf16Case> rms_norm_cases() {
  struct Norm {
    std::string name;
    Shape shape;
    double eps = 1e-6;
    double scale = 1.0;
  };
  const std::vector<Norm> norms = {{"odd_rows", Shape{131, 77}},
                                   {"one", Shape{1, 1}},
                                   {"rows_2048", Shape{9, 2048}},
                                   {"rows_3072", Shape{5, 3072}},
                                   {"rows_5120", Shape{3, 5120}},
                                   {"rows_8191", Shape{3, 8191}},
                                   {"rows_16384", Shape{2, 16384}},
                                   {"heads_of_16", Shape{67, 5, 16}},
                                   {"heads_of_20", Shape{67, 3, 20}},
                                   {"heads_of_64", Shape{33, 8, 64}},
                                   {"heads_of_128", Shape{131, 6, 128}},
                                   {"heads_of_256", Shape{5, 2, 256}},
                                   {"eps_matters", Shape{9, 64}, 1e-2, 0.05},
                                   {"large_values", Shape{9, 1030}, 1e-6, 1e4}};
  std::vector<Bf16Case> cases;
  for (const Norm& norm : norms) {
    for (const Rows layout : kAllRows) {
      for (const bool in_place : {false, true}) {
        if (norm.shape[norm.shape.rank() - 1] == 16384 && layout == Rows::kOdd) continue;  // 8192 unaligned
        cases.push_back(
            {fmt::format("rms_norm_{}_{}{}", norm.name, name_of(layout), in_place ? "_in_place" : ""),
             [=](Device& device) {
               const int64_t channels = norm.shape[norm.shape.rank() - 1];
               const Activation x(device, norm.shape, layout, bf16_values(3, norm.shape.numel(), norm.scale));
               const Tensor weight = device.upload(Shape{channels}, bf16_values(4, channels), act(device));
               const Activation out = in_place ? x : Activation(device, norm.shape, layout);
               device.backend().rms_norm(device.queue(), x, weight, norm.eps, out);
               return outputs_of(out);
             }});
      }
    }
  }
  return cases;
}

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

std::vector<Bf16Case> linear_cases() {
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
  std::vector<Bf16Case> cases;
  for (const LinearCase& c : list) {
    cases.push_back({"linear_" + c.name, [=](Device& device) { return run_linear(device, c); }});
  }
  return cases;
}

std::vector<Bf16Case> swiglu_cases() {
  std::vector<Bf16Case> cases;
  for (const Rows layout : kAllRows) {
    for (const auto& [rows, inner] : {std::pair{37, 96}, {5, 33}, {1, 1}, {300, 1000}, {64, 2816}}) {
      cases.push_back({fmt::format("swiglu_{}x{}_{}", rows, inner, name_of(layout)), [=](Device& device) {
                         const Activation gate_up(device, Shape{rows, 2 * inner}, layout,
                                                  bf16_values(9, 2 * rows * inner, 5.0));
                         const Activation out(device, Shape{rows, inner}, layout);
                         device.backend().swiglu(device.queue(), gate_up, out);
                         return outputs_of(out);
                       }});
    }
  }
  return cases;
}

Outputs run_rope(Device& device, int64_t heads, int64_t head_dim, RopeDirection direction, bool in_place,
                 Rows layout) {
  constexpr int64_t kPositions = 400;
  const int64_t half = head_dim / 2;
  Values cosines;
  Values sines;
  Rng rng(10);
  for (int64_t i = 0; i < kPositions * half; ++i) {
    const double angle = 100.0 * rng.uniform();
    cosines.push_back(static_cast<float>(1.25 * std::cos(angle)));
    sines.push_back(static_cast<float>(1.25 * std::sin(angle)));
  }
  Table<RowSpan> spans{{{0, 67, 0}, {67, 1, 0}, {68, 130, 3}, {198, 65, 335}}, {}};
  device.prepare(spans);
  const Shape shape{263, heads, head_dim};
  const RopeTable table{device.upload(Shape{kPositions, half}, cosines),
                        device.upload(Shape{kPositions, half}, sines)};
  const Activation x(device, shape, layout, bf16_values(11, shape.numel()));
  const Activation out = in_place ? x : Activation(device, shape, layout);
  device.backend().rope(device.queue(), x, table, spans, direction, out);
  return outputs_of(out);
}

std::vector<Bf16Case> rope_cases() {
  std::vector<Bf16Case> cases;
  for (const auto& [heads, head_dim] :
       {std::pair{2, 16}, {1, 2}, {3, 10}, {4, 64}, {2, 80}, {2, 96}, {3, 128}, {1, 256}}) {
    for (const RopeDirection direction : {RopeDirection::kForward, RopeDirection::kTransposed}) {
      for (const bool in_place : {false, true}) {
        for (const Rows layout : kAllRows) {
          cases.push_back({fmt::format("rope_{}x{}_{}{}_{}", heads, head_dim,
                                       direction == RopeDirection::kForward ? "forward" : "transposed",
                                       in_place ? "_in_place" : "", name_of(layout)),
                           [=](Device& device) {
                             return run_rope(device, heads, head_dim, direction, in_place, layout);
                           }});
        }
      }
    }
  }
  return cases;
}

std::vector<Bf16Case> pool_cases() {
  std::vector<Bf16Case> cases;
  for (const auto& [heads, head_dim] : {std::pair{2, 16}, {3, 10}, {4, 64}, {2, 128}}) {
    for (const int64_t block : {16, 64}) {
      for (const PoolSet pools :
           {PoolSet{true, true, true}, PoolSet{true, true, false}, PoolSet{.avg = true}}) {
        for (const Rows layout : kAllRows) {
          cases.push_back(
              {fmt::format("pool_{}x{}_block_{}_{}{}_{}", heads, head_dim, block, pools.max ? "max_min" : "",
                           pools.avg ? "_avg" : "", name_of(layout)),
               [=](Device& device) -> Outputs {
                 Table<RowSpan> spans{{{0, 300, 0}, {300, 17, 0}, {317, 64, 0}, {381, 1, 0}}, {}};
                 device.prepare(spans);
                 int64_t pooled = 0;
                 for (const RowSpan& span : spans.host) pooled += ceil_div(span.rows, block);
                 const Activation x(device, Shape{382, heads, head_dim}, layout,
                                    bf16_values(12, 382 * heads * head_dim));
                 const Tensor out = device.output(Shape{pooled, heads, pools.count() * head_dim});
                 device.backend().pool_blocks(device.queue(), x, spans, block, pools, out);
                 return {{"out", {device.download(out), pools.avg ? Rounding::kFp32 : Rounding::kNone}}};
               }});
        }
      }
    }
  }
  return cases;
}

std::vector<Bf16Case> head_linear_cases() {
  struct HeadLinear {
    int64_t rows, x_heads, w_heads, in, out;
  };
  std::vector<Bf16Case> cases;
  for (const HeadLinear c : {HeadLinear{70, 4, 4, 128, 128},
                             {33, 2, 8, 64, 32},
                             {1, 1, 1, 1, 1},
                             {129, 3, 3, 33, 17},
                             {65, 2, 6, 48, 20},
                             {17, 2, 2, 256, 64}}) {
    for (const Rows layout : kAllRows) {
      cases.push_back({fmt::format("head_linear_{}_rows_{}_to_{}_heads_{}x{}_{}", c.rows, c.x_heads,
                                   c.w_heads, c.in, c.out, name_of(layout)),
                       [=](Device& device) -> Outputs {
                         const Activation x(device, Shape{c.rows, c.x_heads, c.in}, layout,
                                            bf16_values(13, c.rows * c.x_heads * c.in));
                         const Shape w{c.w_heads, c.in, c.out};
                         const Tensor out = device.output(Shape{c.rows, c.w_heads, c.out});
                         device.backend().head_linear(device.queue(), x,
                                                      device.upload(w, random_values(14, w.numel())), out);
                         return {{"out", {device.download(out), Rounding::kFp32}}};
                       }});
    }
  }
  return cases;
}

std::vector<Bf16Case> memory_cases() {
  std::vector<Bf16Case> cases;
  for (const Rows from : kAllRows) {
    for (const Rows to : kAllRows) {
      for (const int64_t width : {1, 33, 128}) {
        cases.push_back(
            {fmt::format("copy_{}_wide_{}_to_{}", width, name_of(from), name_of(to)), [=](Device& device) {
               const Shape shape{41, width};
               const Activation x(device, shape, from, bf16_values(15, shape.numel()));
               const Activation out(device, shape, to);
               device.backend().copy(device.queue(), x, out);
               return outputs_of(out, Rounding::kNone);
             }});
      }
    }
    for (const int64_t width : {1, 33, 128}) {
      cases.push_back({fmt::format("fill_zero_{}_wide_{}", width, name_of(from)), [=](Device& device) {
                         const Activation out(device, Shape{41, width}, from);
                         device.backend().fill_zero(device.queue(), out);
                         return outputs_of(out, Rounding::kNone);
                       }});
    }
  }
  return cases;
}

std::vector<Bf16Case> all_cases() {
  std::vector<Bf16Case> all;
  for (auto* list : {embed_cases, rms_norm_cases, linear_cases, swiglu_cases, rope_cases, pool_cases,
                     head_linear_cases, memory_cases}) {
    std::ranges::move(list(), std::back_inserter(all));
  }
  return all;
}

// ---- tests

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

class Bf16Watch : public testing::Test {
 protected:
  /// The flag after a look at x, from `before`.
  double flag(const Shape& shape, Rows layout, const Values& x, double before = 0.0) {
    const Tensor slot = device_.upload(Shape{1}, {before}, DType::kF64);
    device_.backend().flag_not_finite(device_.queue(), Activation(device_, shape, layout, x), slot);
    return device_.download(slot)[0];
  }

  Device device_{make_cuda_backend({.precision = CudaPrecision::kBf16})};
};

TEST_F(Bf16Watch, SeesEveryElementAndNothingBetweenRows) {
  for (const Rows layout : kAllRows) {
    for (const int64_t width : {33, 64}) {
      SCOPED_TRACE(fmt::format("{} {}", name_of(layout), width));
      const Shape shape{19, width};
      const Values good = bf16_values(16, shape.numel());
      EXPECT_EQ(flag(shape, layout, good), 0.0);
      EXPECT_EQ(flag(shape, layout, good, 1.0), 1.0) << "a flag that was raised before";
      for (const int64_t at : {int64_t{0}, int64_t{7}, width - 1, width, 9 * width + 13, 19 * width - 1}) {
        for (const double bad :
             {kNaN, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
          Values x = good;
          x[at] = bad;
          EXPECT_EQ(flag(shape, layout, x), 1.0) << bad << " at " << at;
        }
      }
    }
  }
}

TEST_F(Bf16Watch, TheLargestNumbersAreFinite) {
  const double largest = std::ldexp(255.0, 120);
  EXPECT_EQ(flag(Shape{2, 8}, Rows::kDense, Values(16, largest)), 0.0);
  EXPECT_EQ(flag(Shape{2, 8}, Rows::kDense, Values(16, -largest)), 0.0);
}

TEST_F(Bf16Watch, SeesTheLastElementOfALargeTensor) {
  const Shape shape{4099, 1024};
  Values x(shape.numel(), 1.0);
  EXPECT_EQ(flag(shape, Rows::kDense, x), 0.0);
  x.back() = kNaN;
  EXPECT_EQ(flag(shape, Rows::kDense, x), 1.0);
}

TEST(Bf16Copy, BetweenHostAndDeviceKeepsEveryBit) {
  Device device(make_cuda_backend({.precision = CudaPrecision::kBf16}));
  std::vector<uint16_t> bits(1 << 16);  // every bf16 there is
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  const Shape shape{256, 256};
  for (const Rows layout : kAllRows) {
    SCOPED_TRACE(name_of(layout));
    const Activation there(device, shape, layout);
    std::vector<uint16_t> back(bits.size());
    device.backend().copy(device.queue(), ConstTensor(bits.data(), DType::kBF16, shape), there);
    device.backend().copy(device.queue(), there, Tensor(back.data(), DType::kBF16, shape));
    device.backend().synchronize(device.queue());
    EXPECT_EQ(bits, back);
    EXPECT_TRUE(there.gaps_untouched());
  }
}

}  // namespace
}  // namespace seer::test
