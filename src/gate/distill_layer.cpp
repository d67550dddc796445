#include "src/gate/distill_layer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "src/core/ceil_div.h"

namespace seer {
namespace {

/// Heads whose block maxima, target, scores and lists of kept blocks fit the budget: whole kv groups, at least one.
int64_t heads_at_a_time(const LayerContext& context, const DistillInput& input,
                        std::span<const GateTask> gates) {
  const int64_t heads = input.q_pre.dim(1);
  const int64_t group = heads / input.k_pre.dim(1);
  int64_t per_head = input.finest->elements;
  int64_t largest = 0;
  for (const GateTask& gate : gates) {
    // T, scores, lists of kept blocks; where gradients are wanted, a byte says which piece was the best.
    int64_t matrices = (gate.recalls.empty() ? 2 : 3) * gate.layout->elements;
    if (gate.config->key_pieces > 1 && !gate.gradients.key.empty())
      matrices += ceil_div(gate.layout->elements, 4);
    largest = std::max(largest, matrices);
  }
  per_head += largest;
  const auto affordable =
      static_cast<int64_t>(context.score_bytes / (sizeof(float) * std::max<int64_t>(per_head, 1)));
  return std::clamp(affordable / group * group, group, heads);
}

/// What attention reads: q after RoPE of the rows computed here, k after RoPE and v of whole sequences.
struct Rotated {
  ConstTensor q, k, v;
};

/// Starts to bring the rows of whole sequences together.
Tensor begin_gather(LayerContext& context, const BatchLayout& batch, ConstTensor own) {
  const Tensor whole = context.arena.tensor(own.dtype(), Shape{batch.num_key_rows, own.dim(1), own.dim(2)});
  context.gather->begin(context.backend, context.queue, own, whole);
  return whole;
}

/// Attention of a range of heads: their slice of `output`, and the block maxima.
void attend(LayerContext& context, const DistillInput& input, const Rotated& x, int64_t head_begin,
            int64_t head_count, Tensor output, Tensor block_log_max) {
  const Arena::Scope scope(context.arena);
  AttentionArgs args{.q = x.q,
                     .k = x.k,
                     .v = x.v,
                     .layout = input.batch,
                     .head_begin = head_begin,
                     .head_count = head_count,
                     .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(x.q.dim(2)))),
                     .output = output,
                     .block_log_max = block_log_max,
                     .blocks = block_log_max.empty() ? nullptr : input.finest};
  args.workspace = context.arena.bytes(context.backend.attention_workspace(args));
  context.backend.attention(context.queue, args);
}

/// Recall of what the gate would keep of a range of heads, and of the best choice of as many blocks.
void measure_recalls(LayerContext& context, const GateTask& gate, int64_t heads, int64_t head_begin,
                     int64_t head_count, ConstTensor scores, ConstTensor target) {
  if (gate.recalls.empty()) return;
  const Arena::Scope scope(context.arena);
  Backend& backend = context.backend;
  const ScoreLayout& layout = *gate.layout;
  const BlockLists lists{context.arena.tensor(DType::kI32, Shape{head_count, layout.num_query_rows}),
                         context.arena.tensor(DType::kI32, target.shape())};
  SelectArgs select{.layout = &layout, .head_count = head_count, .lists = lists};
  KeptRecallArgs recall{.lists = lists,
                        .target = target,
                        .layout = &layout,
                        .heads = heads,
                        .head_count = head_count,
                        .factor = gate.loss_factor};
  const auto measure = [&](ConstTensor by, const SelectionRule& rule, const Tensor& slots) {
    const Arena::Scope workspaces(context.arena);
    select.scores = by;
    select.rule = rule;
    select.workspace = context.arena.bytes(backend.select_workspace(select));
    recall.recall = slots.slice_rows(head_begin, head_count);
    recall.workspace = context.arena.bytes(backend.kept_recall_workspace(recall));
    backend.select_blocks(context.queue, select);
    backend.kept_recall(context.queue, recall);
  };
  for (const RecallSlots& slots : gate.recalls) {
    measure(scores, {.by = SelectBy::kNzRatio, .value = slots.nz_ratio}, slots.recall);
    measure(target, {.by = SelectBy::kNzRatio, .value = slots.nz_ratio, .always_diagonal = false},
            slots.oracle);
  }
}

/// One gate on one range of heads: scores against the target; loss, recall and the scores' gradients.
void distill_heads(LayerContext& context, const DistillInput& input, const GateTask& gate,
                   PrefillActivations& activations, ConstTensor block_log_max, int64_t head_begin,
                   int64_t head_count) {
  const Arena::Scope scope(context.arena);
  Backend& backend = context.backend;
  Queue& queue = context.queue;
  const ScoreLayout& layout = *gate.layout;
  const int64_t heads = input.q_pre.dim(1);
  const Tensor target = context.arena.tensor(DType::kF32, Shape{head_count, layout.elements});
  const Tensor scores = context.arena.tensor(DType::kF32, target.shape());
  backend.normalise_target(queue, block_log_max, *input.finest, layout, head_count, target);
  const bool want_gradient = !gate.gradients.key.empty();
  ScoreArgs args = prefill_score_args(*gate.config, activations, layout, head_begin, head_count);
  if (want_gradient && args.pieces > 1) args.best_piece = context.arena.tensor(DType::kU8, target.shape());
  backend.gate_scores(queue, args, scores);

  measure_recalls(context, gate, heads, head_begin, head_count, scores, target);

  KlArgs kl{.scores = scores,
            .target = target,
            .layout = &layout,
            .heads = heads,
            .head_count = head_count,
            .reduction = gate.reduction,
            .loss_factor = gate.loss_factor,
            .gradient_factor = gate.gradient_factor,
            .want_gradient = want_gradient,
            .losses = gate.losses.slice_rows(head_begin, head_count)};
  kl.workspace = context.arena.bytes(backend.kl_workspace(kl));
  backend.kl_loss(queue, kl);
  if (!want_gradient) return;
  ScoreGradients gradients{.query = activations.query_gradient,
                           .key = activations.key_gradient,
                           .distance = gate.gradients.distance};
  if (!gradients.distance.empty()) {
    gradients.distance_sums = context.arena.tensor(DType::kF32, Shape{head_count, layout.max_blocks + 1});
  }
  backend.gate_scores_backward(queue, args, scores, gradients);
}

}  // namespace

Tensor distill_layer(LayerContext& context, const DistillInput& input, std::span<GateTask> gates) {
  Backend& backend = context.backend;
  const int64_t heads = input.q_pre.dim(1);
  const DType act = backend.activation_dtype();
  Tensor output;
  if (!input.v.empty()) output = context.arena.tensor(act, input.q_pre.shape());

  const Arena::Scope scope(context.arena);
  const Tensor q = context.arena.tensor(act, input.q_pre.shape());
  SEER_CHECK(gates.size() <= kMaxGates, "{} gates", gates.size());
  std::array<PrefillActivations, kMaxGates> activations;
  for (size_t g = 0; g < gates.size(); ++g) {
    activations[g] = prefill_gate_pool(context, *gates[g].config, {input.q_pre, input.k_pre, input.batch},
                                       *gates[g].layout);
  }
  Tensor k = context.arena.tensor(act, input.k_pre.shape());
  ConstTensor v = input.v;
  backend.rope(context.queue, input.k_pre, input.tokens, input.batch->key_rows, RopeDirection::kForward, k);
  if (context.gather != nullptr) {  // under way while q is rotated and the gates project
    k = begin_gather(context, *input.batch, k);
    if (!v.empty()) v = begin_gather(context, *input.batch, v);
  }
  backend.rope(context.queue, input.q_pre, input.tokens, input.batch->rows, RopeDirection::kForward, q);
  for (size_t g = 0; g < gates.size(); ++g) {
    prefill_gate_project(context, *gates[g].config, gates[g].weights, *gates[g].layout, gates[g].blocks,
                         !gates[g].gradients.key.empty(), activations[g]);
  }
  if (context.gather != nullptr) context.gather->finish(backend, context.queue);
  if (gates.empty()) {
    attend(context, input, {q, k, v}, 0, heads, output, Tensor());
    return output;
  }
  const int64_t range = heads_at_a_time(context, input, gates);
  for (int64_t begin = 0; begin < heads; begin += range) {
    const int64_t count = std::min(range, heads - begin);
    const Arena::Scope range_scope(context.arena);
    const Tensor block_log_max = context.arena.tensor(DType::kF32, Shape{count, input.finest->elements});
    attend(context, input, {q, k, v}, begin, count, output, block_log_max);
    for (size_t g = 0; g < gates.size(); ++g) {
      distill_heads(context, input, gates[g], activations[g], block_log_max, begin, count);
    }
  }
  for (size_t g = 0; g < gates.size(); ++g) {
    if (gates[g].gradients.key.empty()) continue;
    prefill_gate_backward(context, *gates[g].config, activations[g], *gates[g].layout, gates[g].blocks,
                          gates[g].gradients);
  }
  return output;
}

}  // namespace seer
