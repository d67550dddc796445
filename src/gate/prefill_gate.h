// The prefill gate (SEMANTICS 2): pool, linear, RoPE; scores of every visible (query block, key block).
// Forward with the backward that its linears need. q and k are frozen, so nothing flows past the pooled
// inputs.
#pragma once

#include "src/gate/gate_params.h"
#include "src/ops/layer_context.h"

namespace seer {

/// What a layer offers its gates.
struct GateInput {
  ConstTensor q_pre;  ///< [S, H, D], before RoPE
  ConstTensor k_pre;  ///< [S, G, D]
  const BatchLayout* batch = nullptr;
};

/// A gate's activations of one layer and micro-batch, in the arena.
struct PrefillActivations {
  Tensor pooled_q;        ///< [R, H, nq*D]
  Tensor pooled_k;        ///< [R * pieces, G, nk*D]
  Tensor queries;         ///< Qg, rotated [R, H, d]
  Tensor keys;            ///< Kg, rotated [R * pieces, H or G, d]
  ConstTensor distance;   ///< Weights of the distance bias, or empty
  Tensor query_gradient;  ///< Like queries; empty without gradients, or where no query linear needs it
  Tensor key_gradient;    ///< Like keys; empty without gradients
};

/// The first half of prefill_gate_forward(): pools q and k. Where sequences are spread over ranks, the pooled keys are on
/// their way afterwards.
PrefillActivations prefill_gate_pool(LayerContext& context, const PrefillGateConfig& config,
                                     const GateInput& input, const ScoreLayout& layout);
/// The second half: linears and RoPE.
void prefill_gate_project(LayerContext& context, const PrefillGateConfig& config, const GateTensors& weights,
                          const ScoreLayout& layout, const RopeTable& blocks, bool want_gradient,
                          PrefillActivations& activations);

/// Computes Qg and Kg. `blocks` holds the rotary tables of block positions for dimension d, one for each piece of a block's
/// keys; `layout` is the prefill layout of the gate's block size. With `want_gradient`, the gradient tensors are taken as
/// well, key_gradient zeroed.
PrefillActivations prefill_gate_forward(LayerContext& context, const PrefillGateConfig& config,
                                        const GateTensors& weights, const GateInput& input,
                                        const ScoreLayout& layout, const RopeTable& blocks,
                                        bool want_gradient);

/// Arguments of the score operations for a range of heads. For gradients of a gate whose keys come in pieces, the caller
/// adds best_piece.
ScoreArgs prefill_score_args(const PrefillGateConfig& config, const PrefillActivations& activations,
                             const ScoreLayout& layout, int64_t head_begin, int64_t head_count);

/// Adds the gradients of the linears, given query_gradient and key_gradient of all heads (which it uses up).
void prefill_gate_backward(LayerContext& context, const PrefillGateConfig& config,
                           PrefillActivations& activations, const ScoreLayout& layout,
                           const RopeTable& blocks, const GateTensors& gradients);

}  // namespace seer
