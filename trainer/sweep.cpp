#include "trainer/sweep.h"

#include <array>

namespace seer {

Sweep::Sweep(Backend& backend, Queue& queue, Arena& arena, const FrozenModel& model, Residuals& residuals,
             HeadRange heads)
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
  residuals_.start(batches, model_.config.num_layers);
  for (int64_t layer = 0; layer < model_.config.num_layers; ++layer) {
    const LayerWeights& weights = model_.weights.begin_layer(queue_, layer);
    for (size_t m = 0; m < batches.size(); ++m) {
      const Tensor x = residuals_.begin(backend_, queue_, layer, static_cast<int64_t>(m));
      if (layer == 0) backend_.embed(queue_, batches[m].ids(), model_.weights.embedding(), x);
      distill(layer, weights, batches[m], x, gates, scalars, mode, loss_factor);
      residuals_.end(backend_, queue_, layer, static_cast<int64_t>(m));
      arena_.reset();  // nothing of the layer survives but x and the gates' gradients
    }
    model_.weights.end_layer(queue_, layer);
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

void Sweep::distill(int64_t layer, const LayerWeights& weights, const MicroBatch& batch, Tensor x,
                    std::span<GateTraining> gates, const StepScalars& scalars, SweepMode mode,
                    double loss_factor) {
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
