// The frozen model run from token ids to logits, attending densely or over the blocks that a method chooses: what all
// evaluations and generation are made of.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "src/model/frozen_layer.h"
#include "src/model/rope.h"
#include "src/sparse/kv_cache.h"
#include "src/sparse/sparse_layer.h"
#include "trainer/eval/gate_set.h"
#include "trainer/micro_batch.h"

namespace seer {

/// How a prefill attends.
struct AttentionPlan {
  std::optional<ScoringMethod> method;  ///< None: densely
  SelectionRule rule;
  int64_t dense_layers = 0;                ///< The first layers attend densely all the same.
  std::vector<std::vector<float>> values;  ///< By layer and head, their own rule.value; empty: one for all
  int64_t calibrated_length = 0;  ///< Tokens of the sequences that `values` were found on; 0: unknown
};

/// Numbers by layer and head as an array [L, H] fp32 on the device, in `to`, which is allocated if it is empty. Waits for the
/// queue. Nothing happens without numbers.
void upload_by_head(Backend& backend, Queue& queue, const ModelConfig& model,
                    const std::vector<std::vector<float>>& values, Buffer& to);
/// Those of one layer, [H].
Tensor values_of_layer(const Buffer& values, const ModelConfig& model, int64_t layer);

/// Calls with q, k and v of a layer of a dense prefill, before its attention; `heads.blocks` is set. What it takes from
/// the arena is planned by calling it once with a context that computes nothing.
using LayerVisitor = std::function<void(LayerContext& context, const LayerHeads& heads, int64_t layer)>;

struct ForwardOptions {
  int64_t max_tokens = 0;              ///< Of a sequence
  int64_t block_size = 64;             ///< Of the selections
  std::vector<ScoringMethod> methods;  ///< That plans may name
  LayerVisitor visitor;                ///< Of dense prefills; or none
};

class ForwardPass {
 public:
  /// Plans and takes all memory. `weights` must hold the head; `gates` may be null if no plan needs one. All must outlive
  /// this object.
  ForwardPass(Backend& backend, const ModelConfig& model, FrozenWeights& weights, const GateSet* gates,
              const ForwardOptions& options);

  /// Runs one sequence from position 0 through all layers. With `cache`, its keys and values are left there. Waits for
  /// the device. Throws Error naming the layer if activations are not finite.
  void prefill(std::span<const int32_t> ids, const AttentionPlan& plan, KvCache* cache = nullptr);

  /// One more token after those of `cache`, attending densely to all of them and itself. The cache grows by it.
  void decode(int32_t id, KvCache& cache);

  /// After prefill: nll[t] in nats of targets[t] as the token after position t; targets < 0 are left out (0). Throws
  /// Error if a logit is not finite.
  std::vector<float> nll(std::span<const int32_t> targets);

  /// Logits [vocab] after the last token of prefill() or decode(). Throws Error if one is not finite.
  std::vector<float> last_logits();

  /// Blocks that the last prefill kept, by layer and head, of how many a dense one visits for one head; dense layers count
  /// as all kept.
  const std::vector<std::vector<double>>& kept() const { return kept_; }
  double visible_blocks() const { return visible_blocks_; }

  Backend& backend() { return backend_; }
  Queue& queue() { return *queue_; }
  int64_t max_tokens() const { return options_.max_tokens; }
  size_t device_bytes() const;

 private:
  /// Tokens that go through the layers together.
  struct Rows {
    ConstTensor ids;
    const BatchLayout& layout;
    const ScoreLayout* blocks;  ///< Null: dense decoding
    int64_t position;           ///< Of the first of them in the cache
  };

  void run(LayerContext& context, FrozenWeights& weights, const Rows& rows, const AttentionPlan& plan,
           KvCache* cache, Tensor x);
  LayerHeads heads_of(LayerContext& context, const Qkv& qkv, const Rows& rows, KvCache* cache, int64_t layer);
  LayerSelection selection(const AttentionPlan& plan, int64_t layer, LayerGate& gate);
  Tensor head_logits(LayerContext& context, FrozenWeights& weights, ConstTensor rows);
  int64_t head_rows() const;
  size_t plan_arena();
  void read_scalars(const AttentionPlan& plan);

  Backend& backend_;
  const ModelConfig model_;
  FrozenWeights& weights_;
  const GateSet* gates_;
  const ForwardOptions options_;
  std::optional<RopeTables> token_rope_;
  MicroBatch batch_;
  LayoutTables decode_tables_;
  BatchLayout decode_layout_;
  Buffer decode_id_;
  Buffer residual_;
  Buffer targets_;
  Buffer nll_;
  Buffer values_;   // of the plan
  Buffer scalars_;  // [L, H] blocks kept and [L] flags, fp64
  int64_t rows_ = 0;
  std::vector<std::vector<double>> kept_;
  double visible_blocks_ = 0;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Queue> queue_;  // last: destroyed first
};

}  // namespace seer
