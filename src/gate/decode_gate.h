// The decode gate of SeerAttention-R (SEMANTICS 8): every token's query, merged over its kv group, against
// pooled keys of the blocks strictly before its own. Forward with backward.
#pragma once

#include "src/gate/gate_config.h"
#include "src/gate/prefill_gate.h"
#include "src/ops/layer_context.h"

namespace seer {

/// How the r query heads of a group become one.
enum class HeadPooling {
  kProj,     ///< Qproj: one matrix per head, summed over the group
  kAvgProj,  ///< Qavgproj: mean over the group, then one matrix
  kAvg,      ///< Qavg: mean over the group, d = D
};

/// "Qproj", "Qavgproj" or "Qavg"; throws a usage Error for anything else.
HeadPooling parse_head_pooling(std::string_view name);

struct DecodeGateConfig {
  HeadPooling head_pooling = HeadPooling::kProj;
  PoolSet k_pools{true, true, true};
  int64_t block_size = 64;
  int64_t hidden_size = 0;  ///< d
  bool use_qk_norm = true;
  bool use_rope = true;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;

  int64_t group() const { return num_heads / num_kv_heads; }
};

/// One layer's weights or gradients, in fp32 (fp64 in gradient checks).
struct DecodeGateTensors {
  Tensor query;   ///< attngate_linear_q.weight [G, r*D, d] (Qproj), [G, D, d] (Qavgproj), or empty (Qavg)
  Tensor key;     ///< attngate_linear_k.weight [G, nk*D, d]
  Tensor q_norm;  ///< [d], or empty without norms
  Tensor k_norm;  ///< [d]
};

struct DecodeActivations {
  ConstTensor merged_q;  ///< Input of the query linear: [S, G, r*D] or [S, G, D]
  Tensor pooled_k;       ///< [N.., G, nk*D]
  Tensor linear_q;       ///< Before the norm: [S, G, d]
  Tensor linear_k;
  Tensor queries;  ///< Qg [S, G, d]
  Tensor keys;     ///< Kg [N.., G, d]
  Tensor query_gradient;
  Tensor key_gradient;
};

/// `layout` is the decode layout of the batch; `tokens` and `blocks` are rotary tables of dimension d for
/// token and block positions (not read without RoPE). Gradient tensors are taken as well, key_gradient
/// zeroed.
DecodeActivations decode_gate_forward(LayerContext& context, const DecodeGateConfig& config,
                                      const DecodeGateTensors& weights, const GateInput& input,
                                      const ScoreLayout& layout, const RopeTable& tokens,
                                      const RopeTable& blocks);

/// Arguments of the score operations: one "head" per kv head.
ScoreArgs decode_score_args(const DecodeGateConfig& config, const DecodeActivations& activations,
                            const ScoreLayout& layout);

/// Adds the gradients of all weights, given query_gradient and key_gradient (which it uses up).
void decode_gate_backward(LayerContext& context, const DecodeGateConfig& config,
                          const DecodeGateTensors& weights, DecodeActivations& activations,
                          const ScoreLayout& layout, const RopeTable& tokens, const RopeTable& blocks,
                          const DecodeGateTensors& gradients);

}  // namespace seer
