#include "trainer/sweep.h"

#include <array>

namespace seer {

Sweep::Sweep(Backend& backend, Queue& queue, Arena& arena, const FrozenModel& model,
             std::span<const Tensor> residuals, HeadRange heads)
    : backend_(backend),
      queue_(queue),
      arena_(arena),
      model_(model),
      residuals_(residuals),
      context_{backend, queue, arena} {
  context_.score_bytes = heads == HeadRange::kAll ? SIZE_MAX : 0;
}

void Sweep::run(std::span<const MicroBatch> batches, std::span<GateTraining> gates,
                const StepScalars& scalars, SweepMode mode, double loss_factor) {
  SEER_CHECK(batches.size() <= residuals_.size(), "{} micro-batches, {} residual streams", batches.size(),
             residuals_.size());
  for (size_t m = 0; m < batches.size(); ++m) {
    backend_.embed(queue_, batches[m].ids(), model_.weights.embedding(),
                   residuals_[m].slice_rows(0, batches[m].tokens()));
  }
  for (int64_t layer = 0; layer < model_.config.num_layers; ++layer) {
    for (size_t m = 0; m < batches.size(); ++m) {
      distill(layer, batches[m], residuals_[m].slice_rows(0, batches[m].tokens()), gates, scalars, mode,
              loss_factor);
      arena_.reset();  // nothing of the layer survives but x and the gates' gradients
    }
    if (mode == SweepMode::kTrain) flag_gradients(layer, gates, scalars);
  }
}

void Sweep::flag_gradients(int64_t layer, std::span<GateTraining> gates, const StepScalars& scalars) {
  for (size_t g = 0; g < gates.size(); ++g) {
    const Tensor gradients = gates[g].params().layer_gradients(layer);
    backend_.flag_not_finite(queue_, gradients.reshape(Shape{1, gradients.numel()}),
                             scalars.gradient_not_finite(static_cast<int64_t>(g), layer));
  }
}

void Sweep::distill(int64_t layer, const MicroBatch& batch, Tensor x, std::span<GateTraining> gates,
                    const StepScalars& scalars, SweepMode mode, double loss_factor) {
  const LayerWeights& weights = model_.weights.layer(layer);
  const bool last = layer + 1 == model_.config.num_layers;  // nobody needs the last layer's output
  const Qkv qkv = project_qkv(context_, model_.config, weights, x, /*need_output=*/!last);
  backend_.flag_not_finite(queue_, qkv.q_pre, scalars.not_finite(layer));
  backend_.flag_not_finite(queue_, qkv.k_pre, scalars.not_finite(layer));

  SEER_CHECK(gates.size() <= kMaxGates, "{} gates", gates.size());
  std::array<GateTask, kMaxGates> tasks;
  for (size_t g = 0; g < gates.size(); ++g) {
    GateTraining& gate = gates[g];
    const auto number = static_cast<int64_t>(g);
    tasks[g] = {.config = &gate.config(),
                .layout = &batch.blocks(gate.config().block_size),
                .blocks = gate.block_rope(),
                .weights = gate.params().weights(layer),
                .gradients = mode == SweepMode::kTrain ? gate.params().gradients(layer) : GateTensors(),
                .reduction = gate.reduction(),
                .loss_factor = loss_factor,
                .gradient_factor = gate.entry().loss_scale * loss_factor,
                .losses = scalars.losses(number, layer)};
    if (mode == SweepMode::kEvaluate) tasks[g].recalls = scalars.recalls(number, layer);
  }
  const Tensor attention = distill_layer(context_,
                                         {.q_pre = qkv.q_pre,
                                          .k_pre = qkv.k_pre,
                                          .v = qkv.v,
                                          .batch = &batch.layout(),
                                          .tokens = model_.tokens,
                                          .finest = &batch.finest()},
                                         std::span(tasks.data(), gates.size()));
  if (last) return;
  const Shape flat{x.rows(), model_.config.num_heads * model_.config.head_dim};
  finish_layer(context_, model_.config, weights, attention.reshape(flat), x);
  backend_.flag_not_finite(queue_, x, scalars.not_finite(layer));
}

}  // namespace seer
