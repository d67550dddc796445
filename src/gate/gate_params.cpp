#include "src/gate/gate_params.h"

#include <algorithm>

#include "src/core/rng.h"

namespace seer {
namespace {

int64_t linears_size(const PrefillGateConfig& config) {
  return config.key_weight().numel() + (config.has_query_linear() ? config.query_weight().numel() : 0);
}

}  // namespace

std::string gate_weight_name(int64_t layer, bool query) {
  return fmt::format("model.layers.{}.self_attn.attn_gate.mask_linear_{}.weight", layer, query ? "q" : "k");
}

std::string distance_weight_name(int64_t layer) {
  return fmt::format("model.layers.{}.self_attn.attn_gate.distance_bias.weight", layer);
}

std::vector<GateWeight> gate_weights(const PrefillGateConfig& config, int64_t layer) {
  std::vector<GateWeight> out;
  if (config.has_query_linear()) {
    out.push_back({gate_weight_name(layer, true), config.query_weight(), &GateTensors::query});
  }
  std::string key = gate_weight_name(layer, false);
  if (config.key_pieces > 1) {
    key.insert(key.rfind(".weight"), fmt::format("_of_{}_pieces", config.key_pieces));
  }
  out.push_back({std::move(key), config.key_weight(), &GateTensors::key});
  if (config.distance_bias) {
    out.push_back({distance_weight_name(layer), config.distance_weight(), &GateTensors::distance});
  }
  return out;
}

int64_t GateParams::layer_size(const PrefillGateConfig& config) {
  return linears_size(config) + (config.distance_bias ? config.distance_weight().numel() : 0);
}

GateParams::GateParams(Backend& backend, Queue& queue, const PrefillGateConfig& config, int64_t num_layers,
                       GateUse use)
    : config_(config),
      num_layers_(num_layers),
      layer_size_(layer_size(config)),
      arrays_(use == GateUse::kTraining ? kArrays : 1),
      buffer_(backend.allocate(arrays_ * size() * sizeof(float), Memory::kDevice)) {
  backend.fill_zero(queue, buffer_.tensor(DType::kF32, Shape{arrays_ * size()}));
}

Tensor GateParams::flat(Array array) const {
  SEER_CHECK(array < arrays_, "array {} of gates that are not trained", static_cast<int>(array));
  return buffer_.tensor(DType::kF32, Shape{arrays_, size()}).slice_rows(array, 1).reshape(Shape{size()});
}

Tensor GateParams::layer_of(Array array, int64_t layer) const {
  return flat(array)
      .reshape(Shape{num_layers_, layer_size_})
      .slice_rows(layer, 1)
      .reshape(Shape{layer_size_});
}

GateTensors gate_tensors(const PrefillGateConfig& config, Tensor layer) {
  auto* data = layer.data<float>();
  GateTensors out;
  if (config.has_query_linear()) {
    out.query = Tensor(data, DType::kF32, config.query_weight());
    data += config.query_weight().numel();
  }
  out.key = Tensor(data, DType::kF32, config.key_weight());
  data += config.key_weight().numel();
  if (config.distance_bias) out.distance = Tensor(data, DType::kF32, config.distance_weight());
  return out;
}

void GateParams::init_normal(Backend& backend, Queue& queue, uint64_t seed, double standard_deviation) {
  const Buffer host = backend.allocate(size() * sizeof(float), Memory::kHostPinned);
  const Tensor values = host.tensor(DType::kF32, Shape{size()});
  for (int64_t layer = 0; layer < num_layers_; ++layer) {
    Rng rng = Rng(seed).fork("gate init").fork(layer);
    float* out = values.data<float>() + layer * layer_size_;
    const int64_t linears = linears_size(config_);
    for (int64_t i = 0; i < linears; ++i) out[i] = static_cast<float>(rng.normal() * standard_deviation);
    std::fill(out + linears, out + layer_size_, 0.0F);
  }
  backend.copy(queue, values, flat_weights());
  backend.synchronize(queue);  // the host copy ends here
}

}  // namespace seer
