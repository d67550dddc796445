#include "trainer/eval/gate_set.h"

#include <nlohmann/json.hpp>

#include "src/core/ceil_div.h"
#include "src/core/error.h"
#include "src/io/json_file.h"
#include "trainer/gates_folder.h"

namespace seer {

namespace {

/// The gates' config.json is that of the model they were trained for.
void check_model(const std::filesystem::path& folder, const ModelConfig& model) {
  const nlohmann::json gates = read_json_file(folder / "config.json");
  const auto number = [&](const char* key, int64_t fallback) {
    const auto found = gates.find(key);
    return found != gates.end() && found->is_number_integer() ? found->get<int64_t>() : fallback;
  };
  const int64_t layers = number("num_hidden_layers", model.num_layers);
  const int64_t heads = number("num_attention_heads", model.num_heads);
  const int64_t kv_heads = number("num_key_value_heads", model.num_kv_heads);
  if (layers == model.num_layers && heads == model.num_heads && kv_heads == model.num_kv_heads) return;
  const auto base = gates.find("base_model");
  fail(
      "{} holds gates of another model{}: {} layers of {} query and {} kv heads; --model has {} of {} and {}",
      folder.string(), base != gates.end() && base->is_string() ? " (" + base->get<std::string>() + ")" : "",
      layers, heads, kv_heads, model.num_layers, model.num_heads, model.num_kv_heads);
}

GateEntryConfig entry_of(const std::filesystem::path& folder, const ModelConfig& model) {
  GateEntryConfig entry = read_gate_entry(folder);
  check_model(folder, model);
  return entry;
}

}  // namespace

GateSet::GateSet(Backend& backend, Queue& queue, const std::filesystem::path& folder,
                 const ModelConfig& model, int64_t max_tokens)
    : entry_(entry_of(folder, model)),
      params_(backend, queue, prefill_gate_config(entry_, model), model.num_layers, GateUse::kInference),
      block_rope_(backend, queue, rope_frequencies(model.rope, params_.config().hidden_size),
                  ceil_div(max_tokens, entry_.block_size), entry_.block_size, entry_.key_pieces) {
  upload_gates(backend, queue, read_gates(folder), folder.string(), entry_, params_);
}

}  // namespace seer
