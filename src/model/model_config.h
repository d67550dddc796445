// Sizes and variants of a base model, read from its config.json. The only place that spells llama, qwen2,
// qwen3, mistral.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace seer {

enum class RopeType { kDefault, kLinear, kLlama3, kYarn };

/// Rotary embedding parameters (SEMANTICS 1).
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;                  ///< llama3
  double high_freq_factor = 4.0;                 ///< llama3
  double beta_fast = 32.0;                       ///< yarn
  double beta_slow = 1.0;                        ///< yarn
  std::optional<double> attention_factor;        ///< yarn
  int64_t original_max_position_embeddings = 0;  ///< llama3, yarn
};

struct ModelConfig {
  std::string model_type;  ///< llama | qwen2 | qwen3 | mistral
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;     ///< H
  int64_t num_kv_heads = 0;  ///< G
  int64_t head_dim = 0;      ///< D
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;
  bool tie_word_embeddings = false;
  RopeConfig rope;
  std::vector<int64_t> eos_token_ids;
  std::string json;  ///< config.json, a replaced rope scaling included: what a gates folder says of its model
};

/// Parses config.json in either dialect (SEMANTICS 1). `rope_scaling`, if not empty, is a JSON object that
/// takes the place of the file's own scaling (YaRN "by hand", as Qwen2.5's card says). What the sweep cannot
/// compute exactly (other families, sliding windows, mixtures of experts, other RoPE types, quantised
/// weights) is refused by name.
ModelConfig parse_model_config(const std::string& json, const std::string& where,
                               const std::string& rope_scaling = {});

/// The same for `folder`/config.json.
ModelConfig load_model_config(const std::filesystem::path& folder, const std::string& rope_scaling = {});

}  // namespace seer
