// The forward sweep: the whole training, in one loop over layers.
//
// The base is frozen and the loss of a layer's gate depends on that layer's q and k alone, so nothing flows
// back between layers: every layer leaves the gradients of its own gates behind and is forgotten. Memory does
// not grow with depth; each layer's weights are touched once per optimiser step, for all micro-batches; one
// teacher pass serves all gates; ranks add up the gradients of layers while the next ones compute.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "src/model/frozen_layer.h"
#include "src/model/rope.h"
#include "trainer/gradient_sum.h"
#include "trainer/micro_batch.h"
#include "trainer/residuals.h"
#include "trainer/step_scalars.h"

namespace seer {

enum class SweepMode {
  kTrain,     ///< Losses and gradients.
  kEvaluate,  ///< Losses and recall.
};

/// How many heads' score matrices are in memory at a time. Fixed for all batches of a session: a batch with
/// fewer blocks than the largest then never needs more memory.
enum class HeadRange {
  kAll,    ///< Every head of a layer: one pass over its keys.
  kGroup,  ///< The query heads of one kv head, the least possible.
};

/// The frozen model as the sweep uses it.
struct FrozenModel {
  const ModelConfig& config;
  FrozenWeights& weights;
  RopeTable tokens;  ///< For positions 0 .. the longest sequence
};

/// What a sweep works in, and what it leaves behind.
struct SweepMemory {
  Arena& arena;
  Residuals& residuals;
  GradientSum& gradients;
  const StepScalars& scalars;
};

class Sweep {
 public:
  Sweep(Backend& backend, Queue& queue, const FrozenModel& model, const SweepMemory& memory, HeadRange heads,
        const RankGroups& ranks);

  /// Runs every micro-batch through every layer. Losses (and in kEvaluate recalls) are added to the scalars as
  /// `loss_factor` times each micro-batch's; the gates' gradients become those of loss_scale * loss_factor * loss, over
  /// all micro-batches of all ranks. What is not finite is flagged in the scalars. Asynchronous: everything passed in
  /// must live until the queue has run it. Ranks must all sweep, those without a micro-batch (of an evaluation) too.
  void run(std::span<const MicroBatch> batches, std::span<GateTraining> gates, SweepMode mode,
           double loss_factor);

 private:
  /// What every micro-batch of a layer shares.
  struct Layer {
    int64_t number;
    const LayerWeights& weights;
    std::span<GateTraining> gates;
    SweepMode mode;
    double loss_factor;
  };

  void distill(const Layer& layer, int64_t m, const MicroBatch& batch, Tensor x);
  GateTask task(const Layer& layer, int64_t m, const MicroBatch& batch, size_t g);
  void reduce_gradients(const Layer& layer);

  Backend& backend_;
  Queue& queue_;
  FrozenModel model_;
  SweepMemory memory_;
  std::optional<SequenceGather> gather_;  // of k and v, where sequences are spread over ranks
  std::optional<SequenceGather> pooled_gather_;
  LayerContext context_;
};

}  // namespace seer
