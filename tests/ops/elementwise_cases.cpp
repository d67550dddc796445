// embed, swiglu, copy, fill_zero and flag_not_finite.
#include <cmath>
#include <limits>

#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

OpCase embed(DType dtype) {
  constexpr int64_t kVocabulary = 37;
  constexpr int64_t kChannels = 19;
  constexpr int64_t kRows = 131;
  std::vector<int32_t> ids(kRows);
  for (int64_t s = 0; s < kRows; ++s) ids[s] = static_cast<int32_t>((s * s + 5) % kVocabulary);
  ids[7] = 0;
  ids[130] = kVocabulary - 1;
  const Values table = random_values(1, kVocabulary * kChannels, 1.0, dtype);
  return {fmt::format("embed{}", suffix_of(dtype)),
          [=](Device& device) -> Outputs {
            const Tensor out = device.output_strided(Shape{kRows, kChannels});
            device.backend().embed(
                device.queue(), device.upload_ids(ids),
                device.upload(Shape{kVocabulary, kChannels}, table, device.backend().weight_dtype(dtype)),
                out);
            return {{"out", device.download(out)}, {"gaps", {device.gaps_untouched(out) ? 1.0 : 0.0}}};
          },
          [=]() -> Expectations {
            Values out;
            for (const int32_t id : ids) {
              for (int64_t c = 0; c < kChannels; ++c) out.push_back(table[id * kChannels + c]);
            }
            return {{"out", {out}}, {"gaps", {{1.0}}}};
          }};
}

OpCase swiglu(int64_t rows, int64_t inner, double scale) {
  const Values gate_up = random_values(2, rows * 2 * inner, scale);
  return {
      fmt::format("swiglu_{}x{}_scale_{}", rows, inner, scale),
      [=](Device& device) -> Outputs {
        const Tensor out = device.output_strided(Shape{rows, inner});
        device.backend().swiglu(device.queue(), device.upload_strided(Shape{rows, 2 * inner}, gate_up), out);
        return {{"out", device.download(out)}, {"gaps", {device.gaps_untouched(out) ? 1.0 : 0.0}}};
      },
      [=]() -> Expectations {
        Values out(rows * inner);
        for (int64_t s = 0; s < rows; ++s) {
          for (int64_t i = 0; i < inner; ++i) {
            const double gate = gate_up[s * 2 * inner + i];
            out[s * inner + i] = gate / (1.0 + std::exp(-gate)) * gate_up[s * 2 * inner + inner + i];
          }
        }
        return {{"out", {out, kF32Tolerance}}, {"gaps", {{1.0}}}};
      }};
}

OpCase copy_and_fill() {
  const Values x = random_values(3, 5 * 7);
  return {"copy_and_fill_zero",
          [=](Device& device) -> Outputs {
            const Shape shape{5, 7};
            const Tensor dense = device.upload(shape, x);
            const Tensor strided = device.output_strided(shape);
            const Tensor back = device.output(shape);
            const Tensor half_zeroed = device.upload_strided(shape, x);
            device.backend().copy(device.queue(), dense, strided);
            device.backend().copy(device.queue(), strided, back);
            device.backend().fill_zero(device.queue(), half_zeroed.slice_rows(1, 3));
            return {
                {"strided", device.download(strided)},
                {"back", device.download(back)},
                {"half_zeroed", device.download(half_zeroed)},
                {"gaps", {device.gaps_untouched(strided) && device.gaps_untouched(half_zeroed) ? 1.0 : 0.0}}};
          },
          [=]() -> Expectations {
            Values half_zeroed = x;
            std::fill(half_zeroed.begin() + 7, half_zeroed.begin() + 4 * 7, 0.0);
            return {{"strided", {x}}, {"back", {x}}, {"half_zeroed", {half_zeroed}}, {"gaps", {{1.0}}}};
          }};
}

/// The slot begins at 0.5, so that an operation that writes 0 for finite values shows.
OpCase flag(const std::string& name, bool strided, double bad, int64_t row, int64_t column) {
  constexpr int64_t kRows = 129;
  constexpr int64_t kColumns = 37;
  return {"flag_not_finite_" + name,
          [=](Device& device) -> Outputs {
            Values x = random_values(4, kRows * kColumns, 1e30);
            x[row * kColumns + column] = bad;
            const Shape shape{kRows, kColumns};
            const Tensor slot = device.upload(Shape{1}, {0.5}, DType::kF64);
            device.backend().flag_not_finite(
                device.queue(), strided ? device.upload_strided(shape, x) : device.upload(shape, x), slot);
            return {{"slot", device.download(slot)}};
          },
          [=]() -> Expectations {
            return {{"slot", {{std::isfinite(bad) ? 0.5 : 1.0}}}};
          }};
}

}  // namespace

OpCases elementwise_cases() {
  OpCases cases = {embed(DType::kF32),  embed(DType::kBF16),   embed(DType::kF16),    swiglu(1, 1, 1.0),
                   swiglu(65, 33, 1.0), swiglu(130, 16, 40.0), swiglu(3, 257, 200.0), copy_and_fill()};
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto largest = static_cast<double>(std::numeric_limits<float>::max());
  const auto smallest = static_cast<double>(std::numeric_limits<float>::denorm_min());
  for (const bool strided : {false, true}) {
    const std::string rows = strided ? "_strided" : "_dense";
    cases.push_back(flag("largest" + rows, strided, largest, 64, 20));
    cases.push_back(flag("denormal" + rows, strided, smallest, 0, 0));
    cases.push_back(flag("nan_first" + rows, strided, nan, 0, 0));
    cases.push_back(flag("nan_middle" + rows, strided, nan, 64, 20));
    cases.push_back(flag("nan_last" + rows, strided, nan, 128, 36));
    cases.push_back(flag("inf_first" + rows, strided, inf, 0, 0));
    cases.push_back(flag("inf_last" + rows, strided, inf, 128, 36));
    cases.push_back(flag("minus_inf_middle" + rows, strided, -inf, 63, 36));
  }
  return cases;
}

}  // namespace seer::test
