// How much of the attention that a dense model pays the methods' choices would keep (SEMANTICS 9): one dense pass serves
// all methods and rules, as q and k of a layer are all they need.
#pragma once

#include "trainer/eval/forward_pass.h"

namespace seer {

/// A layer that a plan leaves dense keeps everything.
struct RecallResult {
  std::vector<std::vector<double>> recall;   ///< By layer and head
  std::vector<std::vector<double>> density;  ///< By layer and head: blocks kept of those visible

  double mean_recall() const;
  double mean_density() const;
};

/// The mean over all layers and heads.
double mean_of(const std::vector<std::vector<double>>& by_head);

class RecallPass {
 public:
  RecallPass(Backend& backend, const ModelConfig& model, FrozenWeights& weights, const GateSet* gates,
             int64_t max_tokens, int64_t block_size, std::vector<AttentionPlan> plans);

  /// Measures one more sequence.
  void add(std::span<const int32_t> ids);

  /// Means over the sequences so far, one result per plan.
  std::vector<RecallResult> results();

 private:
  void measure(LayerContext& context, const LayerHeads& heads, int64_t layer);
  /// [H] fp64 slots of one plan and layer: recall, then blocks kept.
  Tensor slots(size_t plan, int64_t layer, int which) const;

  const ModelConfig model_;
  const GateSet* gates_;
  std::vector<AttentionPlan> plans_;    // each with a method
  std::vector<ScoringMethod> methods_;  // of the plans, each once
  Buffer slots_;
  std::vector<Buffer> values_;  // [L, H] fp32 by plan; empty where a plan has none
  std::optional<ForwardPass> pass_;
  int64_t sequences_ = 0;
  double visible_blocks_ = 0;
};

}  // namespace seer
