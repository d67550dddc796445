// One entry of the config's `gates`: an independent training with its own weights, clip, learning rate and
// schedule.
#pragma once

#include "src/gate/gate_params.h"
#include "src/model/rope.h"
#include "trainer/run_config.h"

namespace seer {

/// The gate's shape for a model: config.hidden_size 0 becomes the model's head_dim.
PrefillGateConfig prefill_gate_config(const GateEntryConfig& entry, const ModelConfig& model);

class GateTraining {
 public:
  /// Weights and moments are zero until they are drawn or loaded; `max_tokens` bounds the rotary table of
  /// blocks.
  GateTraining(Backend& backend, Queue& queue, const GateEntryConfig& entry, const ModelConfig& model,
               int64_t max_tokens);

  const GateEntryConfig& entry() const { return entry_; }
  const PrefillGateConfig& config() const { return params_.config(); }
  GateParams& params() { return params_; }
  const GateParams& params() const { return params_; }
  RopeTable block_rope() const { return block_rope_.table(); }
  LossReduction reduction() const;
  /// Device memory of weights, gradients and moments; of the rotary table; of scratch for the norm.
  size_t params_bytes() const { return 4 * params_.size() * sizeof(float); }
  size_t rope_bytes() const { return block_rope_.bytes(); }
  size_t workspace_bytes() const { return norm_workspace_.bytes(); }

  /// Clip by the global norm and AdamW over all layers at optimiser step `step` of `total_steps`; refuses on
  /// the device where `not_finite` holds a flag. Writes norm_squared on the way.
  void apply_gradients(Backend& backend, Queue& queue, int64_t step, int64_t total_steps,
                       ConstTensor not_finite, Tensor norm_squared);

 private:
  GateEntryConfig entry_;
  GateParams params_;
  RopeTables block_rope_;
  Buffer norm_workspace_;
};

}  // namespace seer
