#include "tests/support/tiny_model.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/core/rng.h"
#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"

namespace seer::test {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

std::string architecture(const std::string& family) {
  if (family == "llama") return "LlamaForCausalLM";
  if (family == "qwen2") return "Qwen2ForCausalLM";
  if (family == "qwen3") return "Qwen3ForCausalLM";
  fail("no tiny model of family {}", family);
}

/// Adds random tensors, each from a stream of its own: one more does not change the others.
class TensorWriter {
 public:
  explicit TensorWriter(uint64_t seed) : rng_(Rng(seed).fork("tiny model")) {}

  void add(const std::string& name, const std::vector<int64_t>& shape, double mean, double deviation) {
    OwnedTensor tensor{name, DType::kBF16, shape, {}};
    std::vector<float> values(tensor.view().numel());
    Rng rng = rng_.fork(name);
    for (float& value : values) value = static_cast<float>(mean + deviation * rng.normal());
    tensor.bytes.resize(values.size() * size_of(tensor.dtype));
    convert_from_f32(values.data(), static_cast<int64_t>(values.size()), tensor.dtype, tensor.bytes.data());
    tensors_.push_back(std::move(tensor));
  }
  void norm(const std::string& name, int64_t size) { add(name, {size}, 1.0, 0.1); }
  void linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    add(name + ".weight", {out, in}, 0.0, 1.5 / std::sqrt(static_cast<double>(in)));
    if (bias) add(name + ".bias", {out}, 0.0, 0.1);
  }

  std::vector<OwnedTensor> take() { return std::move(tensors_); }

 private:
  Rng rng_;
  std::vector<OwnedTensor> tensors_;
};

}  // namespace

std::string tiny_config_json(const TinyModel& m) {
  Json config = {{"architectures", {architecture(m.family)}},
                 {"model_type", m.family},
                 {"hidden_size", m.hidden},
                 {"intermediate_size", m.intermediate},
                 {"num_hidden_layers", m.layers},
                 {"num_attention_heads", m.heads},
                 {"num_key_value_heads", m.kv_heads},
                 {"vocab_size", m.vocabulary},
                 {"max_position_embeddings", m.max_positions},
                 {"rms_norm_eps", m.family == "llama" ? 1e-5 : 1e-6},
                 {"rope_theta", m.family == "llama" ? 500000.0 : 1000000.0},
                 {"rope_scaling", Json::parse(m.rope_scaling)},
                 {"initializer_range", 0.02},
                 {"hidden_act", "silu"},
                 {"eos_token_id", 1},
                 {"tie_word_embeddings", false},
                 {"torch_dtype", "bfloat16"}};
  if (m.family != "llama") config["use_sliding_window"] = false;
  if (m.family != "qwen2") config["head_dim"] = m.head_dim;  // qwen2 knows hidden / heads alone
  return config.dump(2) + "\n";
}

std::vector<OwnedTensor> tiny_tensors(const TinyModel& m) {
  SEER_CHECK(m.family != "qwen2" || m.heads * m.head_dim == m.hidden, "qwen2: {} heads of {}, hidden {}",
             m.heads, m.head_dim, m.hidden);
  const bool bias = m.family == "qwen2";
  TensorWriter out(m.seed);
  out.add("model.embed_tokens.weight", {m.vocabulary, m.hidden}, 0.0, 1.0);
  for (int64_t i = 0; i < m.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    const std::string attention = layer + "self_attn.";
    out.norm(layer + "input_layernorm.weight", m.hidden);
    out.norm(layer + "post_attention_layernorm.weight", m.hidden);
    if (m.family == "qwen3") {
      out.norm(attention + "q_norm.weight", m.head_dim);
      out.norm(attention + "k_norm.weight", m.head_dim);
    }
    out.linear(attention + "q_proj", m.heads * m.head_dim, m.hidden, bias);
    out.linear(attention + "k_proj", m.kv_heads * m.head_dim, m.hidden, bias);
    out.linear(attention + "v_proj", m.kv_heads * m.head_dim, m.hidden, bias);
    out.linear(attention + "o_proj", m.hidden, m.heads * m.head_dim, false);
    out.linear(layer + "mlp.gate_proj", m.intermediate, m.hidden, false);
    out.linear(layer + "mlp.up_proj", m.intermediate, m.hidden, false);
    out.linear(layer + "mlp.down_proj", m.hidden, m.intermediate, false);
  }
  out.norm("model.norm.weight", m.hidden);
  out.linear("lm_head", m.vocabulary, m.hidden, false);
  return out.take();
}

void write_model(const fs::path& folder, const std::string& config_json,
                 const std::vector<OwnedTensor>& tensors) {
  fs::create_directories(folder);
  write_file_atomically(folder / "config.json", config_json);
  std::vector<NamedTensor> views;
  for (const OwnedTensor& tensor : tensors) views.push_back(tensor.view());
  write_safetensors(folder / "model.safetensors", views, {{"format", "pt"}});
}

void write_tiny_model(const fs::path& folder, const TinyModel& model) {
  write_model(folder, tiny_config_json(model), tiny_tensors(model));
}

OwnedTensor& tensor_named(std::vector<OwnedTensor>& tensors, const std::string& name) {
  const auto it = std::find_if(tensors.begin(), tensors.end(),
                               [&](const OwnedTensor& tensor) { return tensor.name == name; });
  if (it == tensors.end()) fail("no tensor {}", name);
  return *it;
}

void set_element(OwnedTensor& tensor, int64_t index, float value) {
  convert_from_f32(&value, 1, tensor.dtype, tensor.bytes.data() + index * size_of(tensor.dtype));
}

std::vector<int32_t> random_ids(uint64_t seed, int64_t count, int64_t vocabulary) {
  Rng rng = Rng(seed).fork("ids");
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(vocabulary));
  return ids;
}

void write_npy(const fs::path& path, const std::vector<int32_t>& ids) {
  constexpr size_t kPreamble = 10;  // magic, version, length of the header
  std::string header =
      fmt::format("{{'descr': '<i4', 'fortran_order': False, 'shape': ({},), }}", ids.size());
  header.append(64 - (kPreamble + header.size() + 1) % 64, ' ');
  header += '\n';
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(header.size() % 256);
  text += static_cast<char>(header.size() / 256);
  text += header;
  text.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t));
  write_file_atomically(path, text);
}

void write_documents(const fs::path& path, const std::vector<std::vector<int32_t>>& documents) {
  std::vector<int32_t> ids;
  std::vector<int64_t> bounds = {0};
  for (const std::vector<int32_t>& document : documents) {
    ids.insert(ids.end(), document.begin(), document.end());
    bounds.push_back(static_cast<int64_t>(ids.size()));
  }
  const std::vector<NamedTensor> tensors = {
      {"input_ids", DType::kI32, {static_cast<int64_t>(ids.size())}, std::as_bytes(std::span(ids))},
      {"cu_seqlens", DType::kI64, {static_cast<int64_t>(bounds.size())}, std::as_bytes(std::span(bounds))}};
  write_safetensors(path, tensors, {});
}

}  // namespace seer::test
