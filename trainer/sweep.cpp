#include "trainer/sweep.h"

#include <array>

namespace seer {

Sweep::Sweep(Backend& backend, Queue& queue, const FrozenModel& model, const SweepMemory& memory,
             HeadRange heads, const RankGroups& ranks)
    : backend_(backend),
      queue_(queue),
      model_(model),
      memory_(memory),
      context_{backend, queue, memory.arena} {
  context_.score_bytes = heads == HeadRange::kAll ? SIZE_MAX : 0;
  if (ranks.context == nullptr) return;
  gather_.emplace(backend, *ranks.context, *ranks.context_reversed, *ranks.exchange);
  pooled_gather_.emplace(backend, *ranks.context, *ranks.context_reversed, *ranks.exchange);
  context_.gather = &*gather_;
  context_.pooled_gather = &*pooled_gather_;
}

void Sweep::run(std::span<const MicroBatch> batches, std::span<GateTraining> gates, SweepMode mode,
                double loss_factor) {
  memory_.residuals.start(batches, model_.config.num_layers);
  for (int64_t number = 0; number < model_.config.num_layers; ++number) {
    const LayerWeights& weights = model_.weights.begin_layer(queue_, number);
    const Layer layer{number, weights, gates, mode, loss_factor};
    for (size_t m = 0; m < batches.size(); ++m) {
      const auto stream = static_cast<int64_t>(m);
      const Tensor x = memory_.residuals.begin(backend_, queue_, number, stream);
      if (number == 0) backend_.embed(queue_, batches[m].ids(), model_.weights.embedding(), x);
      distill(layer, stream, batches[m], x);
      memory_.residuals.end(backend_, queue_, number, stream);
      memory_.arena.reset();  // nothing of the layer survives but x and the gates' gradients
      if (m == 0) model_.weights.prefetch_layer();  // behind the keys that this layer waits for
    }
    if (batches.empty()) model_.weights.prefetch_layer();
    model_.weights.end_layer(queue_, number);
    if (mode == SweepMode::kTrain) reduce_gradients(layer);
  }
  if (mode == SweepMode::kTrain) memory_.gradients.finish(backend_, queue_);
}

void Sweep::reduce_gradients(const Layer& layer) {
  for (size_t g = 0; g < layer.gates.size(); ++g) {
    const Tensor gradients = layer.gates[g].params().layer_gradients(layer.number);
    backend_.flag_not_finite(queue_, gradients.reshape(Shape{1, gradients.numel()}),
                             memory_.scalars.gradient_not_finite(static_cast<int64_t>(g), layer.number));
  }
  memory_.gradients.reduce(backend_, queue_, layer.gates, layer.number);
}

GateTask Sweep::task(const Layer& layer, int64_t m, const MicroBatch& batch, size_t g) {
  GateTraining& gate = layer.gates[g];
  const auto number = static_cast<int64_t>(g);
  GateTask task{.config = &gate.config(),
                .layout = &batch.blocks(gate.config().block_size),
                .blocks = gate.block_rope(),
                .weights = gate.params().weights(layer.number),
                .reduction = gate.reduction(),
                .loss_factor = layer.loss_factor,
                .gradient_factor = gate.entry().loss_scale * layer.loss_factor,
                .losses = memory_.scalars.losses(m, number, layer.number)};
  if (layer.mode == SweepMode::kTrain) {
    task.gradients = memory_.gradients.begin(backend_, queue_, gate, number, layer.number, m);
  } else {
    task.recalls = memory_.scalars.recalls(m, number, layer.number);
  }
  return task;
}

void Sweep::distill(const Layer& layer, int64_t m, const MicroBatch& batch, Tensor x) {
  const bool last = layer.number + 1 == model_.config.num_layers;  // nobody needs the last layer's output
  const Tensor watch = memory_.scalars.not_finite(layer.number);
  const Qkv qkv = project_qkv(context_, model_.config, layer.weights, x, /*need_output=*/!last);
  backend_.flag_not_finite(queue_, qkv.q_pre, watch);
  backend_.flag_not_finite(queue_, qkv.k_pre, watch);

  const size_t gates = layer.gates.size();
  SEER_CHECK(gates <= kMaxGates, "{} gates", gates);
  std::array<GateTask, kMaxGates> tasks;
  for (size_t g = 0; g < gates; ++g) tasks[g] = task(layer, m, batch, g);
  const Tensor attention = distill_layer(context_,
                                         {.q_pre = qkv.q_pre,
                                          .k_pre = qkv.k_pre,
                                          .v = qkv.v,
                                          .batch = &batch.layout(),
                                          .tokens = model_.tokens,
                                          .finest = &batch.finest()},
                                         std::span(tasks.data(), gates));
  for (size_t g = 0; g < gates && layer.mode == SweepMode::kTrain; ++g) {
    memory_.gradients.end(backend_, queue_, layer.gates[g], static_cast<int64_t>(g), layer.number, m);
  }
  if (last) return;
  const Shape flat{x.rows(), model_.config.num_heads * model_.config.head_dim};
  finish_layer(context_, model_.config, layer.weights, attention.reshape(flat), x);
  backend_.flag_not_finite(queue_, x, watch);
}

}  // namespace seer
