// One layer's block scores by any method: what the gate does in the model, and what it is measured against.
#pragma once

#include "src/gate/prefill_gate.h"
#include "src/sparse/scoring_method.h"

namespace seer {

/// What a layer offers those who choose its blocks.
struct LayerHeads {
  ConstTensor q_pre;  ///< [S, H, D] act, before RoPE
  ConstTensor k_pre;  ///< [S, G, D]
  ConstTensor q;      ///< [S, H, D] act, after RoPE
  ConstTensor k;      ///< [key rows, G, D]
  ConstTensor v;      ///< [key rows, G, D]; empty where attention's output is not wanted
  const BatchLayout* batch = nullptr;
  const ScoreLayout* blocks = nullptr;  ///< The batch's prefill layout
};

/// The trained gate of one layer.
struct LayerGate {
  const PrefillGateConfig* config = nullptr;
  GateTensors weights;
  RopeTable blocks;  ///< Rotary tables of block positions, dimension d: one for each of config->key_pieces
};

/// Scores of a layer's heads. What all heads share is computed at construction, into the arena; the scorer must not outlive
/// the arena's scope.
class BlockScorer {
 public:
  /// `gate` is needed by kGate alone. `layer` makes random scores differ from layer to layer.
  BlockScorer(LayerContext& context, const ScoringMethod& method, const LayerHeads& heads,
              const LayerGate* gate, int64_t layer);

  /// Whether score() writes p >= 0 (SelectArgs::probabilities) rather than any scores.
  bool probabilities() const;

  /// Scores of heads [head_begin, head_begin + head_count), matrices of `heads.blocks`, fp32.
  void score(int64_t head_begin, int64_t head_count, Tensor scores);

  /// T of these heads (SEMANTICS 3), whatever the method.
  static void ground_truth(LayerContext& context, const LayerHeads& heads, int64_t head_begin,
                           int64_t head_count, Tensor target);

 private:
  void pool_means();
  void pool_bounds();

  LayerContext& context_;
  ScoringMethod method_;
  LayerHeads heads_;
  ScoreArgs pooled_;  // of methods that compare pooled queries and keys
  uint64_t seed_ = 0;
};

}  // namespace seer
