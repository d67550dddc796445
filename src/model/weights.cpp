#include "src/model/weights.h"

#include <cstdint>
#include <cstring>

#include "src/core/error.h"
#include "src/core/rng.h"

namespace seer {
namespace {

/// A tensor of the files, checked against the shape config.json asks for.
const NamedTensor& checked(const ModelFiles& files, const std::string& name, const Shape& shape) {
  const NamedTensor& tensor = files.at(name);
  std::vector<int64_t> expected;
  for (int axis = 0; axis < shape.rank(); ++axis) expected.push_back(shape[axis]);
  if (tensor.shape != expected) {
    fail("{}: tensor {} is {}: config.json asks for {}", files.folder().string(), name,
         shape_text(tensor.shape), shape_text(expected));
  }
  if (tensor.dtype != DType::kBF16 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kF32) {
    fail("{}: tensor {} is {}: expected BF16, F16 or F32", files.folder().string(), name,
         name_of(tensor.dtype));
  }
  return tensor;
}

/// Copies a tensor to memory of the backend, converted to `dtype`.
Buffer upload(Backend& backend, Queue& queue, const NamedTensor& tensor, const Shape& shape, DType dtype) {
  const size_t bytes = shape.numel() * size_of(dtype);
  const Buffer host = backend.allocate(bytes, Memory::kHostPinned);
  if (dtype == tensor.dtype) {
    std::memcpy(host.data(), tensor.bytes.data(), bytes);
  } else {
    std::vector<float> wide(shape.numel());
    convert_to_f32(tensor.bytes.data(), tensor.dtype, shape.numel(), wide.data());
    convert_from_f32(wide.data(), shape.numel(), dtype, host.data());
  }
  Buffer device = backend.allocate(bytes, Memory::kDevice);
  backend.copy(queue, host.tensor(dtype, shape), device.tensor(dtype, shape));
  backend.synchronize(queue);  // the host copy ends here
  return device;
}

}  // namespace

FrozenWeights::FrozenWeights(Backend& backend, Queue& queue, const ModelConfig& config,
                             const std::filesystem::path& folder)
    : files_(folder) {
  collect(config, [&](const std::string& name, const Shape& shape, bool is_norm) -> ConstTensor {
    const NamedTensor& tensor = checked(*files_, name, shape);
    const DType dtype = is_norm ? backend.activation_dtype() : backend.weight_dtype(tensor.dtype);
    const bool aligned = reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(tensor.dtype) == 0;
    if (dtype == tensor.dtype && aligned && backend.reads_host_memory())
      return {tensor.bytes.data(), dtype, shape};
    owned_.push_back(upload(backend, queue, tensor, shape, dtype));
    return owned_.back().tensor(dtype, shape);
  });
}

FrozenWeights FrozenWeights::shapes(const ModelConfig& config, const Backend& backend,
                                    const ModelFiles* files) {
  FrozenWeights weights;
  static const std::byte nowhere{};  // a non-null address: the planner never reads
  weights.collect(config, [&](const std::string& name, const Shape& shape, bool is_norm) -> ConstTensor {
    const DType stored = files == nullptr ? DType::kBF16 : checked(*files, name, shape).dtype;
    return {&nowhere, is_norm ? backend.activation_dtype() : backend.weight_dtype(stored), shape};
  });
  return weights;
}

FrozenWeights FrozenWeights::random(Backend& backend, Queue& queue, const ModelConfig& config,
                                    uint64_t seed) {
  FrozenWeights weights;
  const Rng base(seed);
  weights.collect(config, [&](const std::string& name, const Shape& shape, bool is_norm) -> ConstTensor {
    Rng rng = base.fork(name);
    std::vector<float> values(shape.numel(), 1.0F);
    if (!is_norm) {
      for (float& value : values) value = static_cast<float>(0.02 * rng.normal());
    }
    std::vector<std::byte> bytes(shape.numel() * size_of(DType::kBF16));
    convert_from_f32(values.data(), shape.numel(), DType::kBF16, bytes.data());
    const NamedTensor tensor{.name = name, .dtype = DType::kBF16, .shape = {}, .bytes = bytes};
    const DType dtype = is_norm ? backend.activation_dtype() : backend.weight_dtype(DType::kBF16);
    weights.owned_.push_back(upload(backend, queue, tensor, shape, dtype));
    return weights.owned_.back().tensor(dtype, shape);
  });
  return weights;
}

void FrozenWeights::collect(const ModelConfig& c, const Find& find) {
  const auto counted = [&](const std::string& name, const Shape& shape, bool is_norm) {
    const ConstTensor tensor = find(name, shape, is_norm);
    bytes_ += tensor.numel() * static_cast<int64_t>(size_of(tensor.dtype()));
    return tensor;
  };
  const auto norm = [&](const std::string& name, int64_t size) { return counted(name, Shape{size}, true); };
  const auto add = [&](StackedLinear& linear, const std::string& base, int64_t out, int64_t in, bool bias) {
    linear.weight[linear.parts] = counted(base + ".weight", Shape{out, in}, false);
    if (bias) linear.bias[linear.parts] = counted(base + ".bias", Shape{out}, false);
    ++linear.parts;
  };

  embedding_ = counted("model.embed_tokens.weight", Shape{c.vocab_size, c.hidden_size}, false);
  final_norm_ = norm("model.norm.weight", c.hidden_size);
  if (c.tie_word_embeddings) {
    lm_head_.weight[lm_head_.parts++] = embedding_;
  } else {
    add(lm_head_, "lm_head", c.vocab_size, c.hidden_size, false);
  }
  const int64_t q_size = c.num_heads * c.head_dim;
  const int64_t kv_size = c.num_kv_heads * c.head_dim;
  layers_.resize(c.num_layers);
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    LayerWeights& layer = layers_[i];
    layer.input_norm = norm(prefix + "input_layernorm.weight", c.hidden_size);
    layer.post_norm = norm(prefix + "post_attention_layernorm.weight", c.hidden_size);
    if (c.qk_norm) {
      layer.q_norm = norm(attention + "q_norm.weight", c.head_dim);
      layer.k_norm = norm(attention + "k_norm.weight", c.head_dim);
    }
    add(layer.qkv, attention + "q_proj", q_size, c.hidden_size, c.qkv_bias);
    add(layer.qkv, attention + "k_proj", kv_size, c.hidden_size, c.qkv_bias);
    add(layer.qkv, attention + "v_proj", kv_size, c.hidden_size, c.qkv_bias);
    add(layer.o, attention + "o_proj", c.hidden_size, q_size, c.o_bias);
    add(layer.gate_up, mlp + "gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    add(layer.gate_up, mlp + "up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    add(layer.down, mlp + "down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
  }
}

}  // namespace seer
