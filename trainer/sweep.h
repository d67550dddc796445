// The forward sweep: the whole training, in one loop over layers.
//
// The base is frozen and the loss of a layer's gate depends on that layer's q and k alone, so nothing flows
// back between layers: every layer leaves the gradients of its own gates behind and is forgotten. Memory does
// not grow with depth; each layer's weights are touched once per optimiser step, for all micro-batches; one
// teacher pass serves all gates.
#pragma once

#include <span>
#include <vector>

#include "src/model/frozen_layer.h"
#include "src/model/rope.h"
#include "trainer/gate_training.h"
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

class Sweep {
 public:
  Sweep(Backend& backend, Queue& queue, Arena& arena, const FrozenModel& model, Residuals& residuals,
        HeadRange heads);

  /// Runs every micro-batch through every layer. Losses (and in kEvaluate recalls) are added to `scalars` as
  /// `loss_factor` times each micro-batch's; gradients are added to the gates' as the gradient of
  /// loss_scale * loss_factor * loss. What is not finite is flagged in `scalars`. Asynchronous: everything
  /// passed in must live until the queue has run it.
  void run(std::span<const MicroBatch> batches, std::span<GateTraining> gates, const StepScalars& scalars,
           SweepMode mode, double loss_factor);

 private:
  void distill(int64_t layer, const LayerWeights& weights, const MicroBatch& batch, Tensor x,
               std::span<GateTraining> gates, const StepScalars& scalars, SweepMode mode, double loss_factor);
  void flag_gradients(int64_t layer, std::span<GateTraining> gates, const StepScalars& scalars);

  Backend& backend_;
  Queue& queue_;
  Arena& arena_;
  FrozenModel model_;
  Residuals& residuals_;
  LayerContext context_;
};

}  // namespace seer
