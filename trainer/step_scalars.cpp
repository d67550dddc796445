#include "trainer/step_scalars.h"

#include <numeric>

namespace seer {

StepScalars::StepScalars(Backend& backend, int64_t layers, int64_t heads, int64_t gates,
                         const std::vector<double>& densities)
    : layers_(layers),
      heads_(heads),
      densities_(static_cast<int64_t>(densities.size())),
      flags_((1 + gates) * layers),
      gate_size_(1 + layers * heads * (1 + 2 * densities_)),
      size_(flags_ + gates * gate_size_),
      device_(backend.allocate(size_ * sizeof(double), Memory::kDevice)),
      host_(backend.allocate(size_ * sizeof(double), Memory::kHostPinned)) {
  for (int64_t gate = 0; gate < gates; ++gate) {
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (int64_t d = 0; d < densities_; ++d) {
        recalls_.push_back({densities[d], slots(recall_offset(gate, layer, d, false), heads_),
                            slots(recall_offset(gate, layer, d, true), heads_)});
      }
    }
  }
}

Tensor StepScalars::slots(int64_t begin, int64_t count) const {
  return device_.tensor(DType::kF64, Shape{size_}).slice_rows(begin, count);
}

int64_t StepScalars::recall_offset(int64_t gate, int64_t layer, int64_t density, bool oracle) const {
  const int64_t pair = (layer * densities_ + density) * 2 + (oracle ? 1 : 0);
  return gate_base(gate) + 1 + layers_ * heads_ + pair * heads_;
}

Tensor StepScalars::losses(int64_t gate, int64_t layer) const {
  return slots(losses_offset(gate, layer), heads_);
}

std::span<const RecallSlots> StepScalars::recalls(int64_t gate, int64_t layer) const {
  return {recalls_.data() + (gate * layers_ + layer) * densities_, static_cast<size_t>(densities_)};
}

void StepScalars::download(Backend& backend, Queue& queue) {
  backend.copy(queue, slots(0, size_), host_.tensor(DType::kF64, Shape{size_}));
}

double StepScalars::sum(int64_t begin) const {
  return std::accumulate(host() + begin, host() + begin + heads_, 0.0);
}

double StepScalars::host_recall(int64_t gate, int64_t layer, int64_t density) const {
  return sum(recall_offset(gate, layer, density, false));
}

double StepScalars::host_oracle(int64_t gate, int64_t layer, int64_t density) const {
  return sum(recall_offset(gate, layer, density, true));
}

}  // namespace seer
