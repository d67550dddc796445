// Where a value lies on an axis, and which values are written beside it.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace seer::report {

enum class Scale { kLinear, kLog };

struct Tick {
  double value = 0;
  std::string label;
};

/// A range a little wider than its values, with ticks at round numbers.
struct Axis {
  Scale scale = Scale::kLinear;
  double low = 0;
  double high = 1;
  std::vector<Tick> ticks;

  /// 0 at low, 1 at high; values outside lie outside.
  double position(double value) const;
};

/// The axis that holds all finite `values` (on a log scale: all positive ones); [0, 1] or [0.1, 1] if there are none.
/// Of `integers` (steps, layers) no tick lies between two.
Axis make_axis(std::span<const double> values, Scale scale, bool integers = false);

}  // namespace seer::report
