#include "src/model/frozen_layer.h"

#include <algorithm>

namespace seer {
namespace {

/// x [rows, ...] -> out, with the workspace the backend asks for.
void linear(LayerContext& context, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out) {
  const Arena::Scope scope(context.arena);
  const Tensor workspace = context.arena.bytes(context.backend.linear_workspace(w));
  context.backend.linear(context.queue, x, w, mode, out, workspace);
}

/// Columns [begin, begin + heads * head_dim) of a projection buffer, as [S, heads, D].
Tensor columns(const Tensor& buffer, int64_t begin, int64_t heads, int64_t head_dim) {
  auto* start = static_cast<char*>(buffer.raw()) + begin * static_cast<int64_t>(size_of(buffer.dtype()));
  return {start, buffer.dtype(), Shape{buffer.rows(), heads, head_dim}, buffer.row_stride()};
}

}  // namespace

Qkv project_qkv(LayerContext& context, const ModelConfig& config, const LayerWeights& weights, ConstTensor x,
                bool need_output) {
  StackedLinear w = weights.qkv;
  if (!need_output) w.parts = 2;  // v is only needed for the layer's output
  const DType act = context.backend.activation_dtype();
  const Tensor buffer = context.arena.tensor(act, Shape{x.rows(), w.out_features()});
  {
    const Arena::Scope scope(context.arena);
    const Tensor normed = context.arena.tensor(act, x.shape());
    context.backend.rms_norm(context.queue, x, weights.input_norm, config.rms_norm_eps, normed);
    linear(context, normed, w, LinearOutput::kStore, buffer);
  }
  const int64_t q_size = config.num_heads * config.head_dim;
  const int64_t kv_size = config.num_kv_heads * config.head_dim;
  Qkv out{columns(buffer, 0, config.num_heads, config.head_dim),
          columns(buffer, q_size, config.num_kv_heads, config.head_dim), Tensor()};
  if (need_output) out.v = columns(buffer, q_size + kv_size, config.num_kv_heads, config.head_dim);
  if (config.qk_norm) {
    context.backend.rms_norm(context.queue, out.q_pre, weights.q_norm, config.rms_norm_eps, out.q_pre);
    context.backend.rms_norm(context.queue, out.k_pre, weights.k_norm, config.rms_norm_eps, out.k_pre);
  }
  return out;
}

void finish_layer(LayerContext& context, const ModelConfig& config, const LayerWeights& weights,
                  ConstTensor attention, Tensor x) {
  linear(context, attention, weights.o, LinearOutput::kAdd, x);
  const DType act = context.backend.activation_dtype();
  for (int64_t begin = 0; begin < x.rows(); begin += context.mlp_rows) {
    const Arena::Scope scope(context.arena);
    const Tensor rows = x.slice_rows(begin, std::min(context.mlp_rows, x.rows() - begin));
    const Tensor normed = context.arena.tensor(act, rows.shape());
    const Tensor gate_up = context.arena.tensor(act, Shape{rows.rows(), 2 * config.intermediate_size});
    const Tensor inner = context.arena.tensor(act, Shape{rows.rows(), config.intermediate_size});
    context.backend.rms_norm(context.queue, rows, weights.post_norm, config.rms_norm_eps, normed);
    linear(context, normed, weights.gate_up, LinearOutput::kStore, gate_up);
    context.backend.swiglu(context.queue, gate_up, inner);
    linear(context, inner, weights.down, LinearOutput::kAdd, rows);
  }
}

void lm_head(LayerContext& context, const ModelConfig& config, const FrozenWeights& weights, ConstTensor x,
             Tensor logits) {
  const Arena::Scope scope(context.arena);
  const Tensor normed = context.arena.tensor(context.backend.activation_dtype(), x.shape());
  context.backend.rms_norm(context.queue, x, weights.final_norm(), config.rms_norm_eps, normed);
  linear(context, normed, weights.lm_head(), LinearOutput::kStore, logits);
}

}  // namespace seer
