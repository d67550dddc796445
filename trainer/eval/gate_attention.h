// The attention of one text in a model's layers, densely and over the blocks that trained gates keep, for those who measure
// both on the same q, k and v.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "trainer/eval/eval_model.h"
#include "trainer/eval/forward_pass.h"

namespace seer {

/// One layer: nothing of the attention is computed yet, the lists are written.
struct GateAttention {
  int64_t layer = 0;
  AttentionArgs dense;                      ///< Writes the output that all of `sparse` write
  std::vector<SparseAttentionArgs> sparse;  ///< Of all heads, one for each rule
  std::vector<double> kept;                 ///< Blocks of all rows and heads, by rule
  double visible = 0;                       ///< Blocks that a dense layer visits, of all heads
};

struct GateAttentionOptions {
  int64_t max_tokens = 0;
  std::vector<SelectionRule> rules;
  std::vector<int64_t> layers;  ///< That check_layers() lets pass; empty: all
  /// Called for each of those layers, in order, with work that may be put on the context's queue.
  std::function<void(LayerContext& context, const GateAttention& work)> visitor;
};

class GateAttentionPass {
 public:
  /// Takes all memory. `model` must have gates and outlive the pass.
  GateAttentionPass(EvalModel& model, GateAttentionOptions options);

  /// The model runs densely over `ids`.
  void run(std::span<const int32_t> ids);

 private:
  void visit(LayerContext& context, const LayerHeads& heads, int64_t layer);
  void choose(LayerContext& context, const LayerHeads& heads, const GateAttention& work, Tensor kept);

  EvalModel& model_;
  const GateAttentionOptions options_;
  bool running_ = false;
  ForwardPass pass_;  // last: it plans by calling visit()
};

/// Throws a usage Error naming --layers for one that `model` does not have, or that is there twice.
void check_layers(const std::vector<int64_t>& layers, const ModelConfig& model);

}  // namespace seer
