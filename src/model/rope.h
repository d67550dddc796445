// Rotary tables for tokens and for blocks (SEMANTICS 1 and 2).
#pragma once

#include <cstdint>
#include <vector>

#include "src/model/model_config.h"
#include "src/ops/backend.h"

namespace seer {

/// inv_freq and attention_scaling for rotations of `dim` channels: head_dim for the base model, the gate's
/// hidden size for a gate. Computed in fp32, which is part of the definition.
struct RopeFrequencies {
  std::vector<float> inv_freq;  ///< [dim / 2]
  float attention_scaling = 1.0F;
};

RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t dim);

/// Owns a table of `count` positions: 0, stride, 2 * stride, ... (stride is the block size for a gate's
/// blocks). With `pieces`, so many tables one behind the other: the second begins at stride / pieces, and so on.
class RopeTables {
 public:
  RopeTables(Backend& backend, Queue& queue, const RopeFrequencies& frequencies, int64_t count,
             int64_t stride = 1, int64_t pieces = 1);

  /// All rows, [pieces * count, dim / 2].
  RopeTable table() const { return {cos_, sin_}; }
  size_t bytes() const { return buffer_.bytes(); }
  static size_t bytes_for(int64_t dim, int64_t count) {
    return static_cast<size_t>(count * dim) * sizeof(float);
  }

 private:
  Buffer buffer_;
  Tensor cos_;
  Tensor sin_;
};

}  // namespace seer
