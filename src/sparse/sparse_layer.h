// Attention of one layer over the blocks that a method chose: what stands in a sparse model where the sweep has
// distill_layer (src/gate/distill_layer.h).
#pragma once

#include "src/sparse/block_scorer.h"

namespace seer {

/// How one layer attends.
struct LayerSelection {
  const ScoringMethod* method = nullptr;  ///< Null: densely
  SelectionRule rule;
  ConstTensor values;               ///< [H] fp32, each head's own rule.value; or empty
  const LayerGate* gate = nullptr;  ///< Of kGate
  Tensor kept;                      ///< [H] fp64 += blocks kept; or empty
};

/// The rule as a method uses it: the oracle keeps what T says, and no first, near or diagonal block besides (SEMANTICS 9), but
/// as many blocks where the rule is a number of them.
SelectionRule rule_for(const ScoringMethod& method, const SelectionRule& rule);

/// q and k after RoPE. `k_cache` and `v_cache`, where given, are rows of a KV cache that k is written and v copied to;
/// attention then reads them there.
LayerHeads rotate_heads(LayerContext& context, ConstTensor q_pre, ConstTensor k_pre, ConstTensor v,
                        const BatchLayout& batch, const RopeTable& tokens, Tensor k_cache = {},
                        Tensor v_cache = {});

/// Uninitialised lists of `heads` heads, from the arena.
BlockLists take_lists(Arena& arena, const ScoreLayout& blocks, int64_t heads);

/// The attention output [S, H, D] in the arena. Heads are chosen and attended in ranges whose matrices fit
/// context.score_bytes; the result does not depend on the ranges.
Tensor sparse_layer(LayerContext& context, const LayerHeads& heads, const LayerSelection& selection,
                    int64_t layer);

}  // namespace seer
