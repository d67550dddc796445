// Trained gates to be used: the weights of all layers, with what it takes to score blocks by them.
#pragma once

#include <filesystem>

#include "src/model/rope.h"
#include "src/sparse/block_scorer.h"
#include "trainer/run_config.h"

namespace seer {

class GateSet {
 public:
  /// Reads a gates folder, ours or published: config.json and attn_gate_weights.safetensors, else .pth. `max_tokens` bounds
  /// the sequences. Throws Error naming file and tensor if it does not fit `model`.
  GateSet(Backend& backend, Queue& queue, const std::filesystem::path& folder, const ModelConfig& model,
          int64_t max_tokens);

  /// Type and block size, and under `export_` how the folder's config.json says to select.
  const GateEntryConfig& entry() const { return entry_; }
  LayerGate layer(int64_t number) const {
    return {.config = &params_.config(), .weights = params_.weights(number), .blocks = block_rope_.table()};
  }

 private:
  GateEntryConfig entry_;
  GateParams params_;
  RopeTables block_rope_;
};

}  // namespace seer
