#include "src/gate/prefill_gate.h"

#include <cmath>

namespace seer {
namespace {

/// Gates compute in fp32 whatever the activations are; in fp64 when a gradient check hands them that.
DType gate_dtype(const GateInput& input) {
  return input.q_pre.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
}

/// Pooled keys of whole sequences. Where those are spread over ranks, each pools its own rows; they are gathered as
/// pooled, not as projected, so that every rank adds its share of the weights' gradient by itself.
void pool_keys(LayerContext& context, const PrefillGateConfig& config, const GateInput& input,
               Tensor pooled) {
  const auto pool = [&](Tensor out) {
    context.backend.pool_blocks(context.queue, input.k_pre, input.batch->key_rows, config.block_size,
                                config.key_pieces, config.type.k, out);
  };
  if (context.pooled_gather == nullptr) return pool(pooled);
  const Tensor own = context.arena.tensor(
      pooled.dtype(), Shape{pooled.rows() / context.pooled_gather->ranks(), pooled.dim(1), pooled.dim(2)});
  pool(own);
  context.pooled_gather->begin(context.backend, context.queue, own, pooled);
}

/// Rotates keys [R * pieces, heads, d] in place, each piece of a block at its first token.
void rotate_keys(LayerContext& context, const RopeTable& tables, const ScoreLayout& layout, int64_t pieces,
                 RopeDirection direction, Tensor keys) {
  const int64_t table_rows = tables.cos.rows() / pieces;
  const int64_t row = keys.row_stride() * static_cast<int64_t>(size_of(keys.dtype()));
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const RopeTable table{tables.cos.slice_rows(piece * table_rows, table_rows),
                          tables.sin.slice_rows(piece * table_rows, table_rows)};
    const Tensor own(static_cast<char*>(keys.raw()) + piece * row, keys.dtype(),
                     Shape{keys.rows() / pieces, keys.dim(1), keys.dim(2)}, pieces * keys.row_stride());
    context.backend.rope(context.queue, own, table, layout.key_rows, direction, own);
  }
}

}  // namespace

PrefillActivations prefill_gate_pool(LayerContext& context, const PrefillGateConfig& config,
                                     const GateInput& input, const ScoreLayout& layout) {
  const DType dtype = gate_dtype(input);
  PrefillActivations a;
  a.pooled_q = context.arena.tensor(
      dtype, Shape{layout.num_query_rows, config.num_heads, config.type.q.count() * config.head_dim});
  a.pooled_k = context.arena.tensor(dtype, Shape{layout.num_key_rows * config.key_pieces, config.num_kv_heads,
                                                 config.type.k.count() * config.head_dim});
  pool_keys(context, config, input, a.pooled_k);
  context.backend.pool_blocks(context.queue, input.q_pre, input.batch->rows, config.block_size, 1,
                              config.type.q, a.pooled_q);
  return a;
}

void prefill_gate_project(LayerContext& context, const PrefillGateConfig& config, const GateTensors& weights,
                          const ScoreLayout& layout, const RopeTable& blocks, bool want_gradient,
                          PrefillActivations& a) {
  Backend& backend = context.backend;
  Queue& queue = context.queue;
  const DType dtype = a.pooled_q.dtype();
  const int64_t d = config.hidden_size;
  a.queries = context.arena.tensor(dtype, Shape{layout.num_query_rows, config.num_heads, d});
  a.keys = context.arena.tensor(dtype, Shape{layout.num_key_rows * config.key_pieces, config.key_heads(), d});
  a.distance = weights.distance;
  if (config.has_query_linear()) {
    backend.head_linear(queue, a.pooled_q, weights.query, a.queries);
    backend.rope(queue, a.queries, blocks, layout.query_rows, RopeDirection::kForward, a.queries);
  } else {
    backend.rope(queue, a.pooled_q, blocks, layout.query_rows, RopeDirection::kForward, a.queries);
  }
  if (context.pooled_gather != nullptr) context.pooled_gather->finish(backend, queue);
  backend.head_linear(queue, a.pooled_k, weights.key, a.keys);
  rotate_keys(context, blocks, layout, config.key_pieces, RopeDirection::kForward, a.keys);

  if (want_gradient) {
    if (config.has_query_linear()) a.query_gradient = context.arena.tensor(dtype, a.queries.shape());
    a.key_gradient = context.arena.tensor(dtype, a.keys.shape());
    backend.fill_zero(queue, a.key_gradient);
  }
}

PrefillActivations prefill_gate_forward(LayerContext& context, const PrefillGateConfig& config,
                                        const GateTensors& weights, const GateInput& input,
                                        const ScoreLayout& layout, const RopeTable& blocks,
                                        bool want_gradient) {
  PrefillActivations activations = prefill_gate_pool(context, config, input, layout);
  prefill_gate_project(context, config, weights, layout, blocks, want_gradient, activations);
  return activations;
}

ScoreArgs prefill_score_args(const PrefillGateConfig& config, const PrefillActivations& activations,
                             const ScoreLayout& layout, int64_t head_begin, int64_t head_count) {
  return {.queries = activations.queries,
          .keys = activations.keys,
          .layout = &layout,
          .head_begin = head_begin,
          .head_count = head_count,
          .scale = 1.0 / std::sqrt(static_cast<double>(config.hidden_size)),
          .pieces = config.key_pieces,
          .distance_bias = activations.distance};
}

void prefill_gate_backward(LayerContext& context, const PrefillGateConfig& config, PrefillActivations& a,
                           const ScoreLayout& layout, const RopeTable& blocks, const GateTensors& gradients) {
  Backend& backend = context.backend;
  Queue& queue = context.queue;
  rotate_keys(context, blocks, layout, config.key_pieces, RopeDirection::kTransposed, a.key_gradient);
  backend.head_linear_backward(queue, a.pooled_k, a.key_gradient, gradients.key);
  if (!config.has_query_linear()) return;  // Qg is the pooled q itself: frozen
  backend.rope(queue, a.query_gradient, blocks, layout.query_rows, RopeDirection::kTransposed,
               a.query_gradient);
  backend.head_linear_backward(queue, a.pooled_q, a.query_gradient, gradients.query);
}

}  // namespace seer
