// One decoder layer of the frozen base model, in the two halves between which the gates are distilled.
#pragma once

#include "src/model/weights.h"
#include "src/ops/layer_context.h"

namespace seer {

/// Views into one projection buffer [S, (H + 2G) * D] of the arena.
struct Qkv {
  Tensor q_pre;  ///< [S, H, D] act, before RoPE, after bias and q/k norm: what gates see
  Tensor k_pre;  ///< [S, G, D]
  Tensor v;      ///< [S, G, D]; empty where nobody needs the layer's output
};

/// q, k and, with `need_output`, v of the residual stream x [S, hidden].
Qkv project_qkv(LayerContext& context, const ModelConfig& config, const LayerWeights& weights, ConstTensor x,
                bool need_output);

/// The rest of the layer: x += attention Wo, x += MLP(norm(x)), in place. attention [S, H, D] act.
void finish_layer(LayerContext& context, const ModelConfig& config, const LayerWeights& weights,
                  ConstTensor attention, Tensor x);

/// Final norm and LM head, for evaluation: x [S, hidden], logits [S, vocab] act. The sweep never comes here.
void lm_head(LayerContext& context, const ModelConfig& config, const FrozenWeights& weights, ConstTensor x,
             Tensor logits);

}  // namespace seer
