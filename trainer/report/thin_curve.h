// Long curves with as many points as a chart can show.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/report/report_data.h"

namespace seer::report {

/// The curves of a gate entry, each point the mean of `stride` consecutive steps (the last of fewer, perhaps).
struct ThinCurve {
  size_t stride = 1;
  std::vector<int64_t> steps;  ///< The last step of each mean
  std::vector<double> loss;
  std::vector<std::vector<double>> layer_losses;  ///< [points][layers]
};

/// At most `most_points` of them. A loss that is not finite makes its mean so: the line has a gap there.
ThinCurve thin_curve(const GateCurves& gate, size_t most_points);

/// At most `most` of `values`, evenly spread, the first and the last among them.
template <typename T>
std::vector<T> spread(const std::vector<T>& values, size_t most) {
  if (values.size() <= most || most < 2) return values;
  std::vector<T> out;
  for (size_t i = 0; i < most; ++i) {
    // Rounded to the nearest, in integers.
    out.push_back(values[(2 * i * (values.size() - 1) + (most - 1)) / (2 * (most - 1))]);
  }
  return out;
}

}  // namespace seer::report
