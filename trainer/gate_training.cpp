#include "trainer/gate_training.h"

#include "src/core/ceil_div.h"
#include "trainer/schedule.h"

namespace seer {

PrefillGateConfig prefill_gate_config(const GateEntryConfig& entry, const ModelConfig& model) {
  return {.type = parse_gate_type(entry.type),
          .block_size = entry.block_size,
          .hidden_size = entry.hidden_size > 0 ? entry.hidden_size : model.head_dim,
          .force_double = entry.force_double,
          .key_pieces = entry.key_pieces,
          .distance_bias = entry.distance_bias,
          .num_heads = model.num_heads,
          .num_kv_heads = model.num_kv_heads,
          .head_dim = model.head_dim};
}

GateTraining::GateTraining(Backend& backend, Queue& queue, const GateEntryConfig& entry,
                           const ModelConfig& model, int64_t max_tokens)
    : entry_(entry),
      params_(backend, queue, prefill_gate_config(entry, model), model.num_layers),
      block_rope_(backend, queue, rope_frequencies(model.rope, config().hidden_size),
                  ceil_div(max_tokens, entry.block_size), entry.block_size, entry.key_pieces),
      norm_workspace_(backend.allocate(backend.norm_workspace(params_.size()), Memory::kDevice)) {}

LossReduction GateTraining::reduction() const {
  return entry_.loss_reduction == "rows" ? LossReduction::kRows : LossReduction::kElements;
}

void GateTraining::apply_gradients(Backend& backend, Queue& queue, int64_t step, int64_t total_steps,
                                   ConstTensor not_finite, Tensor norm_squared) {
  const OptimizerConfig& o = entry_.optimizer;
  const Tensor workspace =
      norm_workspace_.tensor(DType::kU8, Shape{static_cast<int64_t>(norm_workspace_.bytes())});
  backend.add_squared_norm(queue, params_.flat_gradients(), norm_squared, workspace);
  backend.adamw(queue, {.weights = params_.flat_weights(),
                        .gradients = params_.flat_gradients(),
                        .first_moment = params_.first_moment(),
                        .second_moment = params_.second_moment(),
                        .norm_squared = norm_squared,
                        .not_finite = not_finite,
                        .max_grad_norm = o.max_grad_norm,
                        .learning_rate = learning_rate(entry_.schedule, o.learning_rate, step, total_steps),
                        .beta1 = o.beta1,
                        .beta2 = o.beta2,
                        .eps = o.eps,
                        .weight_decay = o.weight_decay,
                        .step = step});
}

}  // namespace seer
