#include "trainer/eval/gate_set.h"

#include "src/core/ceil_div.h"
#include "trainer/gates_folder.h"

namespace seer {

GateSet::GateSet(Backend& backend, Queue& queue, const std::filesystem::path& folder,
                 const ModelConfig& model, int64_t max_tokens)
    : entry_(read_gate_entry(folder)),
      params_(backend, queue, prefill_gate_config(entry_, model), model.num_layers, GateUse::kInference),
      block_rope_(backend, queue, rope_frequencies(model.rope, params_.config().hidden_size),
                  ceil_div(max_tokens, entry_.block_size), entry_.block_size, entry_.key_pieces) {
  upload_gates(backend, queue, read_gates(folder), folder.string(), entry_, params_);
}

}  // namespace seer
