// One layer of distillation: attention and its pooled target once, then every gate against that target,
// forward and backward. q, k, v in; the attention output, losses and gradients out. It knows nothing of the
// model around it.
#pragma once

#include <span>

#include "src/gate/prefill_gate.h"

namespace seer {

/// Gates that one sweep can train: their activations are held in arrays of this size, as a step allocates nothing.
inline constexpr size_t kMaxGates = 16;

/// Slots of the step's scalars for recall at one density, one for each head.
struct RecallSlots {
  double nz_ratio = 0.0;
  Tensor recall;  ///< [H] fp64
  Tensor oracle;  ///< [H] fp64
};

/// One gate to train, or to measure, on a layer.
struct GateTask {
  const PrefillGateConfig* config = nullptr;
  const ScoreLayout* layout = nullptr;  ///< Of the gate's block size
  RopeTable blocks;  ///< Rotary tables of block positions, dimension d: one for each of config->key_pieces
  GateTensors weights;
  GateTensors gradients;  ///< Added to; empty key: no gradients wanted
  LossReduction reduction = LossReduction::kElements;
  double loss_factor = 1.0;              ///< losses += loss_factor * loss
  double gradient_factor = 1.0;          ///< gradients += gradient_factor * d loss
  Tensor losses;                         ///< [H] fp64: the layer's loss is their sum
  std::span<const RecallSlots> recalls;  ///< Measured if not empty; must outlive the queue's work
};

struct DistillInput {
  ConstTensor q_pre;  ///< [S, H, D] act, before RoPE
  ConstTensor k_pre;  ///< [S, G, D]
  ConstTensor v;      ///< [S, G, D]; empty if the output is not wanted
  const BatchLayout* batch = nullptr;
  RopeTable tokens;                     ///< Rotary table of token positions, dimension D
  const ScoreLayout* finest = nullptr;  ///< Of the smallest block size among the gates
};

/// Returns the attention output [S, H, D] in the arena, or an empty tensor if `v` is empty. Heads are
/// distilled in ranges whose score matrices fit context.score_bytes; the sums do not depend on the ranges.
Tensor distill_layer(LayerContext& context, const DistillInput& input, std::span<GateTask> gates);

}  // namespace seer
