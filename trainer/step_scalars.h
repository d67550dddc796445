// The small device array that every loss, norm and flag of a step goes to, and its copy on the host.
#pragma once

#include <span>
#include <vector>

#include "src/gate/distill_layer.h"
#include "src/ops/backend.h"

namespace seer {

/// Layout (fp64): a not-finite flag for each layer of the base model, then one for each gate entry's
/// gradients [gate][layer]; then for each gate entry its squared gradient norm, its losses [layer][head], and
/// for each density recall and oracle [layer][head]. Read once a step.
class StepScalars {
 public:
  StepScalars(Backend& backend, int64_t layers, int64_t heads, int64_t gates,
              const std::vector<double>& densities);

  Tensor not_finite() const { return slots(0, flags_); }              ///< Every flag
  Tensor not_finite(int64_t layer) const { return slots(layer, 1); }  ///< [1]
  Tensor gradient_not_finite(int64_t gate, int64_t layer) const {     ///< [1]
    return slots(gradient_flag(gate, layer), 1);
  }
  Tensor norm_squared(int64_t gate) const { return slots(gate_base(gate), 1); }  ///< [1]
  Tensor losses(int64_t gate, int64_t layer) const;                              ///< [heads]
  /// One entry for each density.
  std::span<const RecallSlots> recalls(int64_t gate, int64_t layer) const;

  void zero(Backend& backend, Queue& queue) const { backend.fill_zero(queue, slots(0, size_)); }
  /// Enqueues the copy to the host; the accessors below hold its values once the queue has run it.
  void download(Backend& backend, Queue& queue);

  size_t device_bytes() const { return size_ * sizeof(double); }

  bool host_not_finite(int64_t layer) const { return host()[layer] != 0.0; }
  bool host_gradient_not_finite(int64_t gate, int64_t layer) const {
    return host()[gradient_flag(gate, layer)] != 0.0;
  }
  double host_norm_squared(int64_t gate) const { return host()[gate_base(gate)]; }
  double host_loss(int64_t gate, int64_t layer) const { return sum(losses_offset(gate, layer)); }
  double host_recall(int64_t gate, int64_t layer, int64_t density) const;
  double host_oracle(int64_t gate, int64_t layer, int64_t density) const;

 private:
  Tensor slots(int64_t begin, int64_t count) const;
  const double* host() const { return static_cast<const double*>(host_.data()); }
  double sum(int64_t begin) const;
  int64_t gradient_flag(int64_t gate, int64_t layer) const { return (1 + gate) * layers_ + layer; }
  int64_t gate_base(int64_t gate) const { return flags_ + gate * gate_size_; }
  int64_t losses_offset(int64_t gate, int64_t layer) const { return gate_base(gate) + 1 + layer * heads_; }
  int64_t recall_offset(int64_t gate, int64_t layer, int64_t density, bool oracle) const;

  int64_t layers_, heads_, densities_;
  int64_t flags_;
  int64_t gate_size_;
  int64_t size_;
  Buffer device_;
  Buffer host_;
  std::vector<RecallSlots> recalls_;  // [gate][layer][density]
};

}  // namespace seer
