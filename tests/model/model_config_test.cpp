// config.json in both dialects, what is read from it, and every refusal by name.
#include "src/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "tests/support/fixtures.h"

namespace seer::test {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Json llama() {
  return Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 160,
    "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 500,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "rope_scaling": null,
    "hidden_act": "silu", "attention_bias": false, "mlp_bias": false, "torch_dtype": "bfloat16",
    "tie_word_embeddings": false, "initializer_range": 0.01, "eos_token_id": [7, 9]})");
}

Json with(Json json, const char* patch) {
  json.merge_patch(Json::parse(patch));
  return json;
}

/// merge_patch() drops a key for null; this one sets it.
Json with_null(Json json, const char* key) {
  json[key] = nullptr;
  return json;
}

ModelConfig parse(const Json& json, const std::string& rope_scaling = {}) {
  return parse_model_config(json.dump(), "folder/config.json", rope_scaling);
}

std::string refusal(const Json& json, const std::string& rope_scaling = {}) {
  try {
    parse(json, rope_scaling);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ModelConfig, Llama) {
  const ModelConfig c = parse(llama());
  EXPECT_EQ(c.model_type, "llama");
  EXPECT_EQ(c.hidden_size, 64);
  EXPECT_EQ(c.intermediate_size, 160);
  EXPECT_EQ(c.num_layers, 3);
  EXPECT_EQ(c.num_heads, 8);
  EXPECT_EQ(c.num_kv_heads, 2);
  EXPECT_EQ(c.head_dim, 8);  // hidden_size / num_attention_heads
  EXPECT_EQ(c.vocab_size, 500);
  EXPECT_EQ(c.max_position_embeddings, 4096);
  EXPECT_DOUBLE_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_DOUBLE_EQ(c.initializer_range, 0.01);
  EXPECT_FALSE(c.qkv_bias || c.o_bias || c.mlp_bias || c.qk_norm || c.tie_word_embeddings);
  EXPECT_EQ(c.rope.type, RopeType::kDefault);
  EXPECT_DOUBLE_EQ(c.rope.theta, 500000.0);
  EXPECT_THAT(c.eos_token_ids, ElementsAre(7, 9));
  EXPECT_EQ(c.json, llama().dump());
}

TEST(ModelConfig, WhatMayBeAbsent) {
  Json json = llama();
  for (const char* key : {"num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                          "rope_scaling", "hidden_act", "attention_bias", "mlp_bias", "torch_dtype",
                          "tie_word_embeddings", "initializer_range", "eos_token_id"}) {
    json.erase(key);
    const ModelConfig absent = parse(json);
    EXPECT_EQ(parse(with_null(json, key)).rope.theta, absent.rope.theta) << key;  // null is the same
  }
  const ModelConfig c = parse(json);
  EXPECT_EQ(c.num_kv_heads, 8);
  EXPECT_DOUBLE_EQ(c.rope.theta, 10000.0);
  EXPECT_DOUBLE_EQ(c.initializer_range, 0.02);
  EXPECT_TRUE(c.eos_token_ids.empty());
  EXPECT_THAT(parse(with(llama(), R"({"eos_token_id": 3})")).eos_token_ids, ElementsAre(3));
}

TEST(ModelConfig, Families) {
  const ModelConfig qwen2 = parse(with(
      llama(),
      R"({"model_type": "qwen2", "use_sliding_window": false, "sliding_window": 32768, "mlp_bias": null})"));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias || qwen2.mlp_bias || qwen2.qk_norm);
  EXPECT_FALSE(parse(with(llama(), R"({"model_type": "qwen2", "attention_bias": true})")).o_bias);

  const ModelConfig qwen3 = parse(with(llama(), R"({"model_type": "qwen3", "head_dim": 128})"));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_FALSE(qwen3.qkv_bias);

  EXPECT_EQ(parse(with_null(with(llama(), R"({"model_type": "mistral"})"), "sliding_window")).model_type,
            "mistral");
  for (const char* family : {"llama", "mistral", "qwen3"}) {
    Json json = with(llama(), R"({"attention_bias": true, "mlp_bias": true})");
    json["model_type"] = family;
    const ModelConfig c = parse(json);
    EXPECT_TRUE(c.qkv_bias && c.o_bias && c.mlp_bias) << family;
  }
}

TEST(ModelConfig, RopeInBothDialects) {
  const char* scaling = R"({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                            "original_max_position_embeddings": 8192, "rope_type": "llama3"})";
  Json classic = llama();
  classic["rope_scaling"] = Json::parse(scaling);
  Json v5 = llama();
  v5.erase("rope_theta");
  v5.erase("rope_scaling");
  v5["rope_parameters"] = Json::parse(scaling);
  v5["rope_parameters"]["rope_theta"] = 500000.0;
  v5["dtype"] = nullptr;
  for (const Json& json : {classic, v5}) {
    const RopeConfig rope = parse(json).rope;
    EXPECT_EQ(rope.type, RopeType::kLlama3);
    EXPECT_DOUBLE_EQ(rope.theta, 500000.0);
    EXPECT_DOUBLE_EQ(rope.factor, 8.0);
    EXPECT_DOUBLE_EQ(rope.low_freq_factor, 1.0);
    EXPECT_DOUBLE_EQ(rope.high_freq_factor, 4.0);
    EXPECT_EQ(rope.original_max_position_embeddings, 8192);
  }
  // The older spelling of the type.
  EXPECT_EQ(parse(with(llama(), R"({"rope_scaling": {"type": "linear", "factor": 2.0}})")).rope.type,
            RopeType::kLinear);
  EXPECT_EQ(parse(with(llama(), R"({"rope_scaling": {"type": "default"}})")).rope.type, RopeType::kDefault);
}

TEST(ModelConfig, Yarn) {
  const RopeConfig plain =
      parse(with(llama(), R"({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}})")).rope;
  EXPECT_EQ(plain.type, RopeType::kYarn);
  EXPECT_EQ(plain.original_max_position_embeddings, 4096);  // max_position_embeddings
  EXPECT_DOUBLE_EQ(plain.beta_fast, 32.0);
  EXPECT_DOUBLE_EQ(plain.beta_slow, 1.0);
  EXPECT_FALSE(plain.attention_factor.has_value());
  const RopeConfig full =
      parse(with(llama(), R"({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 16, "beta_slow": 2,
                              "attention_factor": 1.5, "original_max_position_embeddings": 2048}})"))
          .rope;
  EXPECT_EQ(full.original_max_position_embeddings, 2048);
  EXPECT_DOUBLE_EQ(full.beta_fast, 16.0);
  EXPECT_DOUBLE_EQ(full.beta_slow, 2.0);
  EXPECT_DOUBLE_EQ(full.attention_factor.value(), 1.5);
}

TEST(ModelConfig, RopeOverride) {
  const std::string yarn =
      R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024})";
  const RopeConfig classic = parse(llama(), yarn).rope;
  EXPECT_EQ(classic.type, RopeType::kYarn);
  EXPECT_DOUBLE_EQ(classic.theta, 500000.0);
  EXPECT_EQ(classic.original_max_position_embeddings, 1024);
  // In the newer dialect theta lies in the object that is replaced.
  Json v5 = llama();
  v5.erase("rope_theta");
  v5["rope_parameters"] = Json::parse(R"({"rope_type": "linear", "factor": 2.0, "rope_theta": 250000.0})");
  EXPECT_DOUBLE_EQ(parse(v5, yarn).rope.theta, 250000.0);
  EXPECT_DOUBLE_EQ(parse(v5, R"({"rope_type": "default", "rope_theta": 7.0})").rope.theta, 7.0);
  EXPECT_EQ(parse(v5, R"({"rope_type": "default"})").rope.type, RopeType::kDefault);
  EXPECT_THAT(refusal(llama(), R"({"rope_type": "ntk"})"),
              AllOf(HasSubstr("model.rope_scaling"), HasSubstr("ntk")));
  EXPECT_THAT(refusal(llama(), "[1]"), HasSubstr("model.rope_scaling"));
  EXPECT_THAT(refusal(llama(), "{"), AllOf(HasSubstr("model.rope_scaling"), HasSubstr("not valid JSON")));
}

struct Refusal {
  const char* patch;
  std::vector<const char*> says;
};

TEST(ModelConfig, RefusesByName) {
  const std::vector<Refusal> refusals = {
      // Families and variants that the sweep would compute wrongly.
      {R"({"model_type": "gemma2"})", {"model_type", "gemma2", "qwen3"}},
      {R"({"model_type": "qwen3_moe"})", {"model_type", "qwen3_moe"}},
      {R"({"model_type": 3})", {"model_type", "expected a string"}},
      {R"({"model_type": "qwen2", "use_sliding_window": true})",
       {"sliding-window", "use_sliding_window to false"}},
      {R"({"model_type": "qwen3", "use_sliding_window": true})",
       {"sliding-window", "use_sliding_window to false"}},
      {R"({"model_type": "mistral", "sliding_window": 4096})", {"sliding-window", "sliding_window to null"}},
      {R"({"num_local_experts": 8})", {"mixture of experts", "num_local_experts"}},
      {R"({"num_experts": 128})", {"mixture of experts", "num_experts"}},
      {R"({"n_routed_experts": 64})", {"mixture of experts", "n_routed_experts"}},
      {R"({"quantization_config": {"quant_method": "fp8"}})", {"quantised", "quantization_config"}},
      {R"({"layer_types": ["full_attention", "sliding_attention"]})", {"layer_types", "sliding_attention"}},
      {R"({"layer_types": [1]})", {"layer_types", "1"}},
      {R"({"hidden_act": "gelu"})", {"hidden_act", "gelu", "silu"}},
      // RoPE.
      {R"({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}})", {"rope_scaling", "dynamic", "yarn"}},
      {R"({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}})", {"longrope"}},
      {R"({"rope_scaling": {"rope_type": "linear"}})", {"factor", "missing"}},
      {R"({"rope_scaling": {"rope_type": "linear", "factor": 0}})", {"factor", "positive"}},
      {R"({"rope_scaling": {"rope_type": "linear", "factor": "4"}})", {"factor", "expected a number"}},
      {R"({"rope_scaling": {"rope_type": "yarn", "factor": 0.5}})", {"factor", "0.5", "at least 1"}},
      {R"({"rope_theta": 1.0, "rope_scaling": {"rope_type": "yarn", "factor": 4}})", {"rope_theta"}},
      {R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "mscale": 1.0}})", {"mscale"}},
      {R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "truncate": false}})", {"truncate"}},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}})",
       {"original_max_position_embeddings", "missing"}},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
           "original_max_position_embeddings": 8192}})",
       {"high_freq_factor", "larger"}},
      {R"({"rope_scaling": {"rope_type": 1}})", {"rope_type", "expected a string"}},
      {R"({"rope_scaling": 4})", {"rope_scaling", "expected an object"}},
      {R"({"rope_parameters": {"full_attention": {"rope_theta": 5.0}}})",
       {"rope_parameters", "full_attention"}},
      {R"({"rope_theta": -1})", {"rope_theta", "positive"}},
      {R"({"rope_theta": "big"})", {"rope_theta", "expected a number"}},
      {R"({"partial_rotary_factor": 0.5})", {"partial_rotary_factor"}},
      // Sizes.
      {R"({"hidden_size": 0})", {"hidden_size", "0", "positive"}},
      {R"({"hidden_size": -64})", {"hidden_size", "-64"}},
      {R"({"hidden_size": 64.5})", {"hidden_size", "64.5"}},
      {R"({"hidden_size": "64"})", {"hidden_size", "\"64\""}},
      {R"({"hidden_size": 18446744073709551615})", {"hidden_size", "18446744073709551615"}},
      {R"({"vocab_size": 1000000000000})", {"vocab_size", "at most"}},
      {R"({"num_hidden_layers": 1000000000})", {"num_hidden_layers", "at most"}},
      {R"({"num_attention_heads": 1000000, "num_key_value_heads": 1, "head_dim": 2})",
       {"num_attention_heads", "at most"}},
      {R"({"num_attention_heads": 7})", {"hidden_size 64", "7"}},
      {R"({"num_key_value_heads": 3})", {"num_key_value_heads 3"}},
      {R"({"head_dim": 9})", {"head_dim 9", "odd"}},
      {R"({"rms_norm_eps": 0})", {"rms_norm_eps", "positive"}},
      {R"({"rms_norm_eps": "1e-5"})", {"rms_norm_eps", "expected a number"}},
      {R"({"initializer_range": -0.02})", {"initializer_range"}},
      {R"({"attention_bias": 1})", {"attention_bias", "true or false"}},
      {R"({"tie_word_embeddings": "yes"})", {"tie_word_embeddings", "true or false"}},
      {R"({"eos_token_id": "</s>"})", {"eos_token_id", "</s>"}},
      {R"({"eos_token_id": [1, 2.5]})", {"eos_token_id", "2.5"}},
  };
  for (const Refusal& r : refusals) {
    const std::string message = refusal(with(llama(), r.patch));
    EXPECT_THAT(message, HasSubstr("folder/config.json")) << r.patch;
    for (const char* part : r.says) EXPECT_THAT(message, HasSubstr(part)) << r.patch;
  }
}

TEST(ModelConfig, RefusesMissingKeys) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "vocab_size", "model_type"}) {
    Json json = llama();
    json.erase(key);
    EXPECT_THAT(refusal(json), AllOf(HasSubstr("folder/config.json"), HasSubstr(key)));
    EXPECT_THAT(refusal(with_null(json, key)), HasSubstr(key));
  }
}

TEST(ModelConfig, RefusesWhatIsNoConfig) {
  EXPECT_THROW(parse_model_config("", "x", {}), Error);
  EXPECT_THROW(parse_model_config("{", "x", {}), Error);
  EXPECT_THROW(parse_model_config("[]", "x", {}), Error);
  EXPECT_THROW(parse_model_config("{\"hidden_size\": 1e999}", "x", {}), Error);
  const TempDir folder;
  const auto message = [](const std::filesystem::path& path) -> std::string {
    try {
      load_model_config(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(message(folder.path()), AllOf(HasSubstr(folder.path().string()), HasSubstr("config.json")));
  EXPECT_THAT(message(folder / "missing"), HasSubstr("does not exist"));
}

}  // namespace
}  // namespace seer::test
