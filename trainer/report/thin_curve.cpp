#include "trainer/report/thin_curve.h"

#include <algorithm>

#include "src/core/error.h"

namespace seer::report {

ThinCurve thin_curve(const GateCurves& gate, size_t most_points) {
  SEER_CHECK(most_points >= 1, "no points asked for");
  ThinCurve out;
  out.stride = std::max<size_t>(1, (gate.steps.size() + most_points - 1) / most_points);
  for (size_t begin = 0; begin < gate.steps.size(); begin += out.stride) {
    const size_t end = std::min(begin + out.stride, gate.steps.size());
    const auto count = static_cast<double>(end - begin);
    double loss = 0;
    std::vector<double> layers(gate.layer_losses.front().size());
    for (size_t i = begin; i < end; ++i) {
      loss += gate.loss[i] / count;
      for (size_t layer = 0; layer < layers.size(); ++layer) {
        layers[layer] += gate.layer_losses[i][layer] / count;
      }
    }
    out.steps.push_back(gate.steps[end - 1]);
    out.loss.push_back(loss);
    out.layer_losses.push_back(std::move(layers));
  }
  return out;
}

}  // namespace seer::report
