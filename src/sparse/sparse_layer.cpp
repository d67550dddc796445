#include "src/sparse/sparse_layer.h"

#include <algorithm>
#include <cmath>

namespace seer {
namespace {

float attention_scale(const LayerHeads& heads) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(heads.q.dim(2))));
}

void attend_densely(LayerContext& context, const LayerHeads& heads, Tensor output) {
  const Arena::Scope scope(context.arena);
  AttentionArgs args{.q = heads.q,
                     .k = heads.k,
                     .v = heads.v,
                     .layout = heads.batch,
                     .head_begin = 0,
                     .head_count = heads.q.dim(1),
                     .scale = attention_scale(heads),
                     .output = output};
  args.workspace = context.arena.bytes(context.backend.attention_workspace(args));
  context.backend.attention(context.queue, args);
}

/// Heads whose scores, ground truth and lists fit the budget: whole kv groups, at least one.
int64_t heads_at_a_time(const LayerContext& context, const LayerHeads& heads) {
  const int64_t count = heads.q.dim(1);
  const int64_t group = count / heads.k.dim(1);
  const int64_t head_bytes = 3 * heads.blocks->elements * static_cast<int64_t>(sizeof(float));
  const auto affordable = static_cast<int64_t>(context.score_bytes) / std::max<int64_t>(head_bytes, 1);
  return std::clamp(affordable / group * group, group, count);
}

}  // namespace

SelectionRule rule_for(const ScoringMethod& method, const SelectionRule& rule) {
  SelectionRule out = rule;
  if (method.kind == ScoringMethod::Kind::kOracle) {
    const bool counts = rule.by == SelectBy::kNzRatio || rule.by == SelectBy::kTokenBudget;
    if (counts) {
      const int64_t near = std::max<int64_t>(rule.local_blocks, rule.always_diagonal ? 1 : 0);
      out.min_blocks = std::max(rule.min_blocks, rule.sink_blocks + near);
    }
    out.always_diagonal = false;
    out.sink_blocks = out.local_blocks = 0;
  }
  return out;
}

LayerHeads rotate_heads(LayerContext& context, ConstTensor q_pre, ConstTensor k_pre, ConstTensor v,
                        const BatchLayout& batch, const RopeTable& tokens, Tensor k_cache, Tensor v_cache) {
  const DType act = context.backend.activation_dtype();
  const Tensor q = context.arena.tensor(act, q_pre.shape());
  const Tensor k = k_cache.empty() ? context.arena.tensor(act, k_pre.shape()) : k_cache;
  context.backend.rope(context.queue, q_pre, tokens, batch.rows, RopeDirection::kForward, q);
  context.backend.rope(context.queue, k_pre, tokens, batch.key_rows, RopeDirection::kForward, k);
  if (!v_cache.empty()) {
    context.backend.copy(context.queue, v, v_cache);
    v = v_cache;
  }
  return {.q_pre = q_pre, .k_pre = k_pre, .q = q, .k = k, .v = v, .batch = &batch};
}

BlockLists take_lists(Arena& arena, const ScoreLayout& blocks, int64_t heads) {
  return {.counts = arena.tensor(DType::kI32, Shape{heads, blocks.num_query_rows}),
          .blocks = arena.tensor(DType::kI32, Shape{heads, blocks.elements})};
}

Tensor sparse_layer(LayerContext& context, const LayerHeads& heads, const LayerSelection& selection,
                    int64_t layer) {
  Backend& backend = context.backend;
  const Tensor output = context.arena.tensor(backend.activation_dtype(), heads.q.shape());
  const Arena::Scope scope(context.arena);
  if (selection.method == nullptr) {
    attend_densely(context, heads, output);
    return output;
  }
  BlockScorer scorer(context, *selection.method, heads, selection.gate, layer);
  const int64_t all = heads.q.dim(1);
  const int64_t range = heads_at_a_time(context, heads);
  for (int64_t begin = 0; begin < all; begin += range) {
    const int64_t count = std::min(range, all - begin);
    const Arena::Scope range_scope(context.arena);
    const Tensor scores = context.arena.tensor(DType::kF32, Shape{count, heads.blocks->elements});
    const BlockLists lists = take_lists(context.arena, *heads.blocks, count);
    scorer.score(begin, count, scores);

    SelectArgs select{.scores = scores,
                      .probabilities = scorer.probabilities(),
                      .layout = heads.blocks,
                      .head_count = count,
                      .rule = rule_for(*selection.method, selection.rule),
                      .lists = lists};
    if (!selection.values.empty()) select.values = selection.values.slice_rows(begin, count);
    if (!selection.kept.empty()) select.kept = selection.kept.slice_rows(begin, count);
    SparseAttentionArgs attention{.q = heads.q,
                                  .k = heads.k,
                                  .v = heads.v,
                                  .layout = heads.batch,
                                  .blocks = heads.blocks,
                                  .lists = lists,
                                  .head_begin = begin,
                                  .head_count = count,
                                  .scale = attention_scale(heads),
                                  .output = output};
    {
      const Arena::Scope workspace_scope(context.arena);
      select.workspace = context.arena.bytes(backend.select_workspace(select));
      backend.select_blocks(context.queue, select);
    }
    attention.workspace = context.arena.bytes(backend.sparse_attention_workspace(attention));
    backend.sparse_attention(context.queue, attention);
  }
  return output;
}

}  // namespace seer
