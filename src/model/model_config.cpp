#include "src/model/model_config.h"

#include <array>

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"

namespace seer {
namespace {

using Json = nlohmann::json;

/// Reads typed keys of one JSON object; every error names the file and the key.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  /// Absent and null are the same: transformers writes null for "not set".
  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }
  const Json& at(const char* key) const { return object_.at(key); }

  int64_t positive(const char* key) const {
    if (!has(key)) fail("{}: key {} is missing: expected a positive integer", where_, key);
    const Json& value = at(key);
    if (!value.is_number_integer() || value.get<int64_t>() <= 0 ||
        value.get<int64_t>() > (int64_t{1} << 40)) {
      fail("{}: key {} is {}: expected a positive integer", where_, key, value.dump());
    }
    return value.get<int64_t>();
  }
  int64_t positive(const char* key, int64_t fallback) const { return has(key) ? positive(key) : fallback; }

  double number(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    if (!at(key).is_number()) fail("{}: key {} is {}: expected a number", where_, key, at(key).dump());
    return at(key).get<double>();
  }
  double positive_number(const char* key, std::optional<double> fallback = std::nullopt) const {
    if (!has(key) && !fallback) fail("{}: key {} is missing: expected a positive number", where_, key);
    const double value = number(key, fallback.value_or(0.0));
    if (!(value > 0.0)) fail("{}: key {} is {}: expected a positive number", where_, key, value);
    return value;
  }
  bool boolean(const char* key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!at(key).is_boolean()) fail("{}: key {} is {}: expected true or false", where_, key, at(key).dump());
    return at(key).get<bool>();
  }
  std::string text(const char* key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!at(key).is_string()) fail("{}: key {} is {}: expected a string", where_, key, at(key).dump());
    return at(key).get<std::string>();
  }
  const std::string& where() const { return where_; }

 private:
  const Json& object_;
  std::string where_;
};

Json parse_object(const std::string& text, const std::string& where) {
  Json json = parse_json(text, where);
  if (!json.is_object()) fail("{}: expected a JSON object", where);
  return json;
}

RopeConfig read_rope(const Reader& model, const Json& scaling, const std::string& where,
                     int64_t max_positions) {
  const Reader reader(scaling, where);
  RopeConfig rope;
  for (const auto& [key, value] : scaling.items()) {
    if (value.is_object()) fail("{}: parameters by layer type ({}) are not supported", where, key);
  }
  // The newer dialect keeps rope_theta beside the scaling; a null at top level does not count.
  rope.theta = reader.positive_number("rope_theta", model.positive_number("rope_theta", 10000.0));
  const std::string type = reader.text("rope_type", reader.text("type", "default"));
  if (reader.number("partial_rotary_factor", model.number("partial_rotary_factor", 1.0)) != 1.0) {
    fail("{}: partial_rotary_factor other than 1 is not supported", where);
  }
  if (type == "default") return rope;
  if (type != "linear" && type != "llama3" && type != "yarn") {
    fail("{}: RoPE type \"{}\" is not supported: expected default, linear, llama3 or yarn", where, type);
  }
  rope.factor = reader.positive_number("factor");
  if (type == "linear") {
    rope.type = RopeType::kLinear;
  } else if (type == "llama3") {
    rope.type = RopeType::kLlama3;
    rope.low_freq_factor = reader.positive_number("low_freq_factor");
    rope.high_freq_factor = reader.positive_number("high_freq_factor");
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      fail("{}: high_freq_factor {} must be larger than low_freq_factor {}", where, rope.high_freq_factor,
           rope.low_freq_factor);
    }
    rope.original_max_position_embeddings = reader.positive("original_max_position_embeddings");
  } else {
    rope.type = RopeType::kYarn;
    for (const char* key : {"mscale", "mscale_all_dim"}) {
      if (reader.has(key)) fail("{}: yarn with {} is not supported", where, key);
    }
    if (rope.factor < 1.0) fail("{}: key factor is {}: yarn expects at least 1", where, rope.factor);
    if (rope.theta <= 1.0) fail("{}: key rope_theta is {}: yarn expects more than 1", where, rope.theta);
    if (!reader.boolean("truncate", true)) fail("{}: yarn with truncate = false is not supported", where);
    rope.beta_fast = reader.positive_number("beta_fast", 32.0);
    rope.beta_slow = reader.positive_number("beta_slow", 1.0);
    if (reader.has("attention_factor")) rope.attention_factor = reader.positive_number("attention_factor");
    rope.original_max_position_embeddings =
        reader.positive("original_max_position_embeddings",
                        model.positive("original_max_position_embeddings", max_positions));
  }
  return rope;
}

void refuse_unsupported(const Reader& reader, const std::string& type) {
  constexpr std::array kFamilies = {"llama", "qwen2", "qwen3", "mistral"};
  if (std::find(kFamilies.begin(), kFamilies.end(), type) == kFamilies.end()) {
    fail("{}: model_type \"{}\" is not supported: expected llama, qwen2, qwen3 or mistral (dense)",
         reader.where(), type);
  }
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    if (reader.has(key)) fail("{}: a mixture of experts ({}) is not supported", reader.where(), key);
  }
  if (reader.has("quantization_config")) {
    fail("{}: quantised weights (quantization_config) are not supported: use the bf16, fp16 or fp32 model",
         reader.where());
  }
  const std::string activation = reader.text("hidden_act", "silu");
  if (activation != "silu")
    fail("{}: hidden_act \"{}\" is not supported: expected silu", reader.where(), activation);

  const bool window =
      type == "mistral" ? reader.has("sliding_window") : reader.boolean("use_sliding_window", false);
  if (window) {
    fail(
        "{}: sliding-window attention is not supported (the gate's ground truth is defined for full causal "
        "attention): "
        "set {} if the model may run without it",
        reader.where(), type == "mistral" ? "sliding_window to null" : "use_sliding_window to false");
  }
  if (reader.has("layer_types")) {
    for (const Json& layer : reader.at("layer_types")) {
      if (layer != "full_attention") {
        fail("{}: layer_types holds {}: only full_attention layers are supported", reader.where(),
             layer.dump());
      }
    }
  }
}

/// Far beyond any model, and small enough that no number of elements or bytes overflows.
void refuse_absurd_sizes(const ModelConfig& c, const std::string& where) {
  constexpr int64_t kManyChannels = int64_t{1} << 24;
  constexpr int64_t kManyHeads = int64_t{1} << 12;
  const auto at_most = [&](const char* key, int64_t value, int64_t limit) {
    if (value > limit) fail("{}: key {} is {}: expected at most {}", where, key, value, limit);
  };
  at_most("hidden_size", c.hidden_size, kManyChannels);
  at_most("intermediate_size", c.intermediate_size, kManyChannels);
  at_most("vocab_size", c.vocab_size, kManyChannels);
  at_most("num_attention_heads", c.num_heads, kManyHeads);
  at_most("num_key_value_heads", c.num_kv_heads, kManyHeads);
  at_most("head_dim", c.head_dim, kManyHeads);
  at_most("num_hidden_layers", c.num_layers, 1024);
}

void read_eos(const Reader& reader, ModelConfig& config) {
  if (!reader.has("eos_token_id")) return;
  const Json& value = reader.at("eos_token_id");
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer())
      fail("{}: key eos_token_id is {}: expected ids", reader.where(), value.dump());
    config.eos_token_ids.push_back(id.get<int64_t>());
  }
}

}  // namespace

ModelConfig parse_model_config(const std::string& text, const std::string& where,
                               const std::string& rope_scaling) {
  const Json json = parse_object(text, where);
  const Reader reader(json, where);
  ModelConfig config;
  config.json = text;
  config.model_type = reader.text("model_type", "");
  refuse_unsupported(reader, config.model_type);

  config.hidden_size = reader.positive("hidden_size");
  config.intermediate_size = reader.positive("intermediate_size");
  config.num_layers = reader.positive("num_hidden_layers");
  config.num_heads = reader.positive("num_attention_heads");
  config.num_kv_heads = reader.positive("num_key_value_heads", config.num_heads);
  config.vocab_size = reader.positive("vocab_size");
  config.max_position_embeddings = reader.positive("max_position_embeddings", 2048);
  config.rms_norm_eps = reader.positive_number("rms_norm_eps", 1e-6);
  config.initializer_range = reader.positive_number("initializer_range", 0.02);
  if (!reader.has("head_dim") && config.hidden_size % config.num_heads != 0) {
    fail("{}: hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is not given", where,
         config.hidden_size, config.num_heads);
  }
  config.head_dim = reader.positive("head_dim", config.hidden_size / config.num_heads);
  refuse_absurd_sizes(config, where);
  if (config.num_heads % config.num_kv_heads != 0) {
    fail("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", where, config.num_heads,
         config.num_kv_heads);
  }
  if (config.head_dim % 2 != 0) fail("{}: head_dim {} is odd: RoPE needs pairs", where, config.head_dim);

  const bool attention_bias = reader.boolean("attention_bias", false);
  const bool qwen2 = config.model_type == "qwen2";
  config.qkv_bias = qwen2 || attention_bias;  // qwen2 has no key for it
  config.o_bias = !qwen2 && attention_bias;
  config.mlp_bias = reader.boolean("mlp_bias", false);
  config.qk_norm = config.model_type == "qwen3";
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  read_eos(reader, config);

  const char* key = reader.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  Json scaling = reader.has(key) ? reader.at(key) : Json::object();
  std::string scaling_where = fmt::format("{}: {}", where, key);
  if (!rope_scaling.empty()) {
    Json replaced = parse_object(rope_scaling, "model.rope_scaling");
    if (scaling.is_object() && scaling.contains("rope_theta") && !replaced.contains("rope_theta")) {
      replaced["rope_theta"] = scaling["rope_theta"];
    }
    scaling = std::move(replaced);
    scaling_where = "model.rope_scaling";
    nlohmann::ordered_json effective = nlohmann::ordered_json::parse(text);
    effective[key] = scaling;
    config.json = effective.dump(2) + "\n";
  }
  if (!scaling.is_object()) fail("{}: expected an object or null, not {}", scaling_where, scaling.dump());
  config.rope = read_rope(reader, scaling, scaling_where, config.max_position_embeddings);
  return config;
}

ModelConfig load_model_config(const std::filesystem::path& folder, const std::string& rope_scaling) {
  if (!std::filesystem::is_directory(folder)) {
    fail("model folder {} does not exist: expected a Hugging Face folder with config.json and safetensors",
         folder.string());
  }
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path))
    fail("{} has no config.json: expected a Hugging Face model folder", folder.string());
  return parse_model_config(read_text_file(path, size_t{64} << 20), path.string(), rope_scaling);
}

}  // namespace seer
