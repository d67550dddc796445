// What kind of gate: pools, block size and sizes of its matrices (SEMANTICS 2), and what we add to the published gate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "src/ops/backend.h"

namespace seer {

/// The pools of a gate type `Q<pools>_K<pools>`.
struct GateType {
  PoolSet q;
  PoolSet k;
  bool operator==(const GateType&) const = default;
};

/// One of the 49 types, e.g. "Qavg_Kmaxminavg"; throws a usage Error for anything else.
GateType parse_gate_type(std::string_view name);
std::string to_string(const GateType& type);

/// A prefill gate for layers of a given shape.
struct PrefillGateConfig {
  GateType type;
  int64_t block_size = 64;
  int64_t hidden_size = 0;  ///< d
  bool force_double = false;
  /// Keys are pooled over so many equal pieces of each block, rotated at each piece's first token; a block's score is its
  /// best piece's. Of a sequence's short last block, pieces behind the end hold what the last one does, at their own places.
  /// 1: the published gate.
  int64_t key_pieces = 1;
  bool distance_bias = false;  ///< A learned bias on the distance between blocks (src/ops/distance_bias.h)
  int64_t num_heads = 0;       ///< H
  int64_t num_kv_heads = 0;    ///< G
  int64_t head_dim = 0;        ///< D

  /// Whether mask_linear_q exists; then mask_linear_k has one matrix per kv head, else one per query head.
  bool has_query_linear() const { return type.q.count() > 1 || hidden_size != head_dim || force_double; }
  int64_t key_heads() const { return has_query_linear() ? num_kv_heads : num_heads; }
  Shape query_weight() const { return {num_heads, type.q.count() * head_dim, hidden_size}; }
  Shape key_weight() const { return {key_heads(), type.k.count() * head_dim, hidden_size}; }
  Shape distance_weight() const { return {num_heads, kDistanceTerms}; }
  /// Whether the published inference code knows such gates.
  bool published() const { return key_pieces == 1 && !distance_bias; }
};

}  // namespace seer
