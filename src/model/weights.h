// The frozen base model's tensors, by layer: const views, never gradients.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/io/model_files.h"
#include "src/model/model_config.h"
#include "src/ops/backend.h"

namespace seer {

/// One decoder layer (SEMANTICS 1). Norm weights are in the backend's activation dtype, matrices as stored.
struct LayerWeights {
  ConstTensor input_norm;  ///< [hidden]
  ConstTensor post_norm;   ///< [hidden]
  ConstTensor q_norm;      ///< [D], or empty
  ConstTensor k_norm;      ///< [D], or empty
  StackedLinear qkv;       ///< q [H*D, hidden], k and v [G*D, hidden]
  StackedLinear o;         ///< [hidden, H*D]
  StackedLinear gate_up;   ///< gate and up [intermediate, hidden]
  StackedLinear down;      ///< [hidden, intermediate]
};

/// All weights of a model. Where the backend reads host memory, matrices are views of the memory-mapped
/// files, so a layer costs memory only while its pages are in use; elsewhere they are copied to the backend
/// once.
class FrozenWeights {
 public:
  /// Opens the model in `folder` and checks every tensor's presence, shape and dtype (bf16, fp16 or fp32)
  /// against `config`. Throws Error naming file and tensor. Needs the queue only during construction.
  FrozenWeights(Backend& backend, Queue& queue, const ModelConfig& config,
                const std::filesystem::path& folder);

  /// Views with no memory behind them, for planning; dtypes are those of `files`, or bf16 if that is null.
  static FrozenWeights shapes(const ModelConfig& config, const Backend& backend, const ModelFiles* files);

  /// A model of this shape with random bf16 weights (matrices normal with standard deviation 0.02, norms 1), for
  /// measurements.
  static FrozenWeights random(Backend& backend, Queue& queue, const ModelConfig& config, uint64_t seed);

  ConstTensor embedding() const { return embedding_; }  ///< [vocab, hidden]
  const LayerWeights& layer(int64_t i) const { return layers_[i]; }
  ConstTensor final_norm() const { return final_norm_; }     ///< [hidden]
  const StackedLinear& lm_head() const { return lm_head_; }  ///< [vocab, hidden], the embedding's if tied
  /// Bytes of all tensors as they are held.
  int64_t bytes() const { return bytes_; }
  /// ModelFiles::fingerprint() of a model read from files.
  uint32_t fingerprint() const { return files_->fingerprint(); }

 private:
  struct Slot;
  /// Sets the views of one group of slots: a layer, or what is outside the layers.
  using Fill = std::function<void(std::span<const Slot>)>;

  FrozenWeights() = default;
  void fill(const ModelConfig& config, const Fill& fill_group);

  std::optional<ModelFiles> files_;
  std::vector<Buffer>
      owned_;  // one for each group that holds what could not be left where the file is mapped
  ConstTensor embedding_;
  ConstTensor final_norm_;
  StackedLinear lm_head_;
  std::vector<LayerWeights> layers_;
  int64_t bytes_ = 0;
};

}  // namespace seer
