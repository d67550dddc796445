// The trainable weights of one set of gates, one gate per layer, with their gradients and AdamW moments.
#pragma once

#include <string>
#include <vector>

#include "src/gate/gate_config.h"
#include "src/ops/backend.h"

namespace seer {

/// One layer's gate: weights or gradients.
struct GateTensors {
  Tensor query;     ///< mask_linear_q.weight [H, nq*D, d], or empty
  Tensor key;       ///< mask_linear_k.weight [H or G, nk*D, d]
  Tensor distance;  ///< distance_bias.weight [H, kDistanceTerms], or empty
};

/// The views of a layer's weights or gradients in `layer`, a flat array of GateParams::layer_size() elements.
GateTensors gate_tensors(const PrefillGateConfig& config, Tensor layer);

enum class GateUse {
  kTraining,   ///< Weights, gradients and moments.
  kInference,  ///< Weights alone: there is no other array.
};

/// Flat fp32 arrays of the backend: the optimiser sees arrays, the gates see views by layer.
class GateParams {
 public:
  GateParams(Backend& backend, Queue& queue, const PrefillGateConfig& config, int64_t num_layers,
             GateUse use = GateUse::kTraining);

  const PrefillGateConfig& config() const { return config_; }
  int64_t num_layers() const { return num_layers_; }
  int64_t size() const { return num_layers_ * layer_size_; }

  GateTensors weights(int64_t layer) const { return gate_tensors(config_, layer_of(kWeights, layer)); }
  Tensor flat_weights() const { return flat(kWeights); }
  Tensor flat_gradients() const { return flat(kGradients); }
  Tensor first_moment() const { return flat(kFirstMoment); }
  Tensor second_moment() const { return flat(kSecondMoment); }
  /// The gradients of one layer as one array: what ranks reduce while the next layer computes.
  Tensor layer_gradients(int64_t layer) const { return layer_of(kGradients, layer); }

  /// Fresh weights: linears normal with mean 0 and the given standard deviation, a function of seed and layer alone; the
  /// distance bias 0.
  void init_normal(Backend& backend, Queue& queue, uint64_t seed, double standard_deviation);

  static int64_t layer_size(const PrefillGateConfig& config);

 private:
  enum Array { kWeights, kGradients, kFirstMoment, kSecondMoment, kArrays };

  Tensor flat(Array array) const;
  Tensor layer_of(Array array, int64_t layer) const;

  PrefillGateConfig config_;
  int64_t num_layers_;
  int64_t layer_size_;
  int arrays_;
  Buffer buffer_;
};

/// The name of a published gate's weight in files: "model.layers.N.self_attn.attn_gate.mask_linear_q.weight" (SEMANTICS 2
/// and 6).
std::string gate_weight_name(int64_t layer, bool query);
/// "model.layers.N.self_attn.attn_gate.distance_bias.weight", ours alone.
std::string distance_weight_name(int64_t layer);

/// A weight of one layer's gate: its name in files and its place in GateTensors.
struct GateWeight {
  std::string name;
  Shape shape;
  Tensor GateTensors::*tensor;
};
/// Those the gate has, in the order of the flat arrays: query linear, key linear, distance bias. Keys in pieces have a name
/// of their own ("..mask_linear_k_of_4_pieces.weight"): nobody takes them for another gate's.
std::vector<GateWeight> gate_weights(const PrefillGateConfig& config, int64_t layer);

}  // namespace seer
