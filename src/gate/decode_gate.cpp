#include "src/gate/decode_gate.h"

#include <cmath>

namespace seer {
namespace {

constexpr double kNormEps = 1e-6;

}  // namespace

HeadPooling parse_head_pooling(std::string_view name) {
  if (name == "Qproj") return HeadPooling::kProj;
  if (name == "Qavgproj") return HeadPooling::kAvgProj;
  if (name == "Qavg") return HeadPooling::kAvg;
  fail_usage("query head pooling \"{}\" is not known: expected Qproj, Qavgproj or Qavg", name);
}

DecodeActivations decode_gate_forward(LayerContext& context, const DecodeGateConfig& config,
                                      const DecodeGateTensors& weights, const GateInput& input,
                                      const ScoreLayout& layout, const RopeTable& tokens,
                                      const RopeTable& blocks) {
  Backend& backend = context.backend;
  Queue& queue = context.queue;
  const DType dtype = weights.key.dtype();
  const int64_t groups = config.num_kv_heads;
  const int64_t d = config.hidden_size;
  const Shape query_shape{input.q_pre.rows(), groups, d};
  const Shape key_shape{layout.num_key_rows, groups, d};

  DecodeActivations a;
  if (config.head_pooling == HeadPooling::kProj) {
    // Heads of a group lie side by side: the sum over heads of q W[g, head] is one product with r*D channels.
    a.merged_q = input.q_pre.reshape(Shape{input.q_pre.rows(), groups, config.group() * config.head_dim});
  } else {
    const Tensor mean = context.arena.tensor(dtype, Shape{input.q_pre.rows(), groups, config.head_dim});
    backend.group_mean(queue, input.q_pre, mean);
    a.merged_q = mean;
  }
  a.pooled_k = context.arena.tensor(
      dtype, Shape{layout.num_key_rows, groups, config.k_pools.count() * config.head_dim});
  backend.pool_blocks(queue, input.k_pre, input.batch->key_rows, config.block_size, 1, config.k_pools,
                      a.pooled_k);

  a.linear_q = context.arena.tensor(dtype, query_shape);
  a.linear_k = context.arena.tensor(dtype, key_shape);
  if (config.head_pooling == HeadPooling::kAvg) {
    backend.copy(queue, a.merged_q, a.linear_q);
  } else {
    backend.head_linear(queue, a.merged_q, weights.query, a.linear_q);
  }
  backend.head_linear(queue, a.pooled_k, weights.key, a.linear_k);

  a.queries = context.arena.tensor(dtype, query_shape);
  a.keys = context.arena.tensor(dtype, key_shape);
  if (config.use_qk_norm) {
    backend.rms_norm(queue, a.linear_q, weights.q_norm, kNormEps, a.queries);
    backend.rms_norm(queue, a.linear_k, weights.k_norm, kNormEps, a.keys);
  } else {
    backend.copy(queue, a.linear_q, a.queries);
    backend.copy(queue, a.linear_k, a.keys);
  }
  if (config.use_rope) {
    backend.rope(queue, a.queries, tokens, layout.query_rows, RopeDirection::kForward, a.queries);
    backend.rope(queue, a.keys, blocks, layout.key_rows, RopeDirection::kForward, a.keys);
  }
  a.query_gradient = context.arena.tensor(dtype, query_shape);
  a.key_gradient = context.arena.tensor(dtype, key_shape);
  backend.fill_zero(queue, a.key_gradient);
  return a;
}

ScoreArgs decode_score_args(const DecodeGateConfig& config, const DecodeActivations& activations,
                            const ScoreLayout& layout) {
  return {.queries = activations.queries,
          .keys = activations.keys,
          .layout = &layout,
          .head_begin = 0,
          .head_count = config.num_kv_heads,
          .scale = 1.0 / std::sqrt(static_cast<double>(config.hidden_size))};
}

void decode_gate_backward(LayerContext& context, const DecodeGateConfig& config,
                          const DecodeGateTensors& weights, DecodeActivations& a, const ScoreLayout& layout,
                          const RopeTable& tokens, const RopeTable& blocks,
                          const DecodeGateTensors& gradients) {
  Backend& backend = context.backend;
  Queue& queue = context.queue;
  if (config.use_rope) {
    backend.rope(queue, a.query_gradient, tokens, layout.query_rows, RopeDirection::kTransposed,
                 a.query_gradient);
    backend.rope(queue, a.key_gradient, blocks, layout.key_rows, RopeDirection::kTransposed, a.key_gradient);
  }
  if (config.use_qk_norm) {
    backend.rms_norm_backward(queue, a.linear_q, weights.q_norm, kNormEps, a.query_gradient, a.query_gradient,
                              gradients.q_norm);
    backend.rms_norm_backward(queue, a.linear_k, weights.k_norm, kNormEps, a.key_gradient, a.key_gradient,
                              gradients.k_norm);
  }
  if (config.head_pooling != HeadPooling::kAvg) {
    backend.head_linear_backward(queue, a.merged_q, a.query_gradient, gradients.query);
  }
  backend.head_linear_backward(queue, a.pooled_k, a.key_gradient, gradients.key);
}

}  // namespace seer
