// What the computation of one layer needs to hand: a device, a queue, scratch memory, and how much of it to
// use.
#pragma once

#include "src/core/arena.h"
#include "src/ops/sequence_gather.h"

namespace seer {

/// Everything taken from the arena is used on `queue` alone, whose order makes its reuse safe.
struct LayerContext {
  Backend& backend;
  Queue& queue;
  Arena& arena;
  /// Tokens the MLP computes at a time: its inner activations are several times as wide as the residual
  /// stream, so they should be no more than full speed needs.
  int64_t mlp_rows = backend.full_speed_rows();
  /// Memory that score matrices may take: decides how many heads are distilled at a time.
  size_t score_bytes = size_t{64} << 20;
  /// Where sequences are spread over ranks: of k and v, and of pooled keys. Null: every sequence is whole here.
  SequenceGather* gather = nullptr;
  SequenceGather* pooled_gather = nullptr;
};

}  // namespace seer
