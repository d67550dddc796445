#include "trainer/report/axis.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "trainer/report/html.h"

namespace seer::report {
namespace {

constexpr int kMostTicks = 7;

/// The smallest of 1, 2, 5 times a power of ten that is not below `least`.
double round_step(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

/// Labels of one axis in one unit: long numbers in thousands or millions.
std::string linear_label(double value, double step, double largest) {
  if (largest >= 1e8) return fmt::format("{:g}M", value / 1e6);
  if (largest >= 1e5) return fmt::format("{:g}k", value / 1e3);
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  if (decimals > 6) return fmt::format("{:.3g}", value);
  return decimals == 0 ? grouped(std::llround(value)) : fixed(value, decimals);
}

Axis linear_axis(double low, double high, bool integers) {
  if (low == high) {  // one value: some room on both sides
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room;
    high += room;
  }
  const double smallest = (high - low) / (kMostTicks - 1);
  const double step = round_step(integers ? std::max(1.0, smallest) : smallest);
  // The range ends at quarters of a step, so that little of the plot stays empty.
  Axis axis{.scale = Scale::kLinear,
            .low = std::floor(4 * low / step + 1e-9) * step / 4,
            .high = std::ceil(4 * high / step - 1e-9) * step / 4};
  const double largest = std::max(std::abs(axis.low), std::abs(axis.high));
  for (double i = std::ceil(axis.low / step - 1e-9); i * step <= axis.high + 1e-9 * step; i += 1) {
    const double value = i * step + 0.0;  // not -0
    axis.ticks.push_back({value, linear_label(value, step, largest)});
  }
  return axis;
}

std::string log_label(double value) {
  if (value >= 1e6 || value < 1e-4) return fmt::format("{:.0e}", value);
  return value >= 1 ? grouped(std::llround(value)) : fmt::format("{:g}", value);
}

Axis log_axis(double low, double high) {
  // Less than that has too few powers of ten in it: round differences instead.
  constexpr double kNarrow = 4;
  if (high < kNarrow * low) {
    Axis axis = linear_axis(low, high, false);
    axis.scale = Scale::kLog;
    return axis;
  }
  // The range ends at 1, 2 or 5 times a power of ten; ticks lie there, or at powers of ten if those are too many.
  constexpr std::array<double, 3> kFactors = {1, 2, 5};
  const auto tick_at = [&](int index) {  // index counts thirds of decades
    const int decade = static_cast<int>(std::floor(index / 3.0));
    return kFactors[static_cast<size_t>(index - 3 * decade)] * std::pow(10.0, decade);
  };
  int first = 3 * static_cast<int>(std::floor(std::log10(low) + 1e-9));
  while (tick_at(first + 1) <= low * (1 + 1e-9)) ++first;
  int last = first + 1;
  while (tick_at(last) < high * (1 - 1e-9)) ++last;
  Axis axis{.scale = Scale::kLog, .low = tick_at(first), .high = tick_at(last)};
  int stride = 1;
  if (last - first + 1 > kMostTicks) {  // whole decades alone, or every second, third, ...
    first = -3 * static_cast<int>(std::floor(-first / 3.0));
    stride = 3;
    while ((last - first) / stride + 1 > kMostTicks) stride += 3;
  }
  for (int index = first; index <= last; index += stride) {
    axis.ticks.push_back({tick_at(index), log_label(tick_at(index))});
  }
  return axis;
}

}  // namespace

double Axis::position(double value) const {
  if (scale == Scale::kLinear) return (value - low) / (high - low);
  return std::log(value / low) / std::log(high / low);
}

Axis make_axis(std::span<const double> values, Scale scale, bool integers) {
  double low = INFINITY;
  double high = -INFINITY;
  for (const double value : values) {
    if (!std::isfinite(value) || (scale == Scale::kLog && value <= 0)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (scale == Scale::kLinear) {
    return low <= high ? linear_axis(low, high, integers) : linear_axis(0, 1, integers);
  }
  return low <= high ? log_axis(low, high) : log_axis(0.1, 1);
}

}  // namespace seer::report
