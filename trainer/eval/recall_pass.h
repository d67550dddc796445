// How much of the attention that a dense model pays the methods' choices would keep (SEMANTICS 9): one dense pass serves
// all methods and rules, as q and k of a layer are all they need.
#pragma once

#include "trainer/eval/forward_pass.h"

namespace seer {

/// One choice to be measured.
struct RecallTask {
  ScoringMethod method;
  SelectionRule rule;
  std::vector<std::vector<float>> values;  ///< By layer and head, in place of rule.value; or empty
};

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
             int64_t max_tokens, int64_t block_size, std::vector<RecallTask> tasks);

  /// Measures one more sequence.
  void add(std::span<const int32_t> ids);

  /// Means over the sequences so far, one result per task.
  std::vector<RecallResult> results();

 private:
  void measure(LayerContext& context, const LayerHeads& heads, int64_t layer);
  /// [H] fp64 slots of one task and layer: recall, then blocks kept.
  Tensor slots(size_t task, int64_t layer, int which) const;

  const ModelConfig model_;
  const GateSet* gates_;
  std::vector<RecallTask> tasks_;
  std::vector<ScoringMethod> methods_;  // of the tasks, each once
  Buffer slots_;
  std::vector<Buffer> values_;  // [L, H] fp32 by task; empty where a task has none
  std::optional<ForwardPass> pass_;
  int64_t sequences_ = 0;
  double visible_blocks_ = 0;
};

}  // namespace seer
