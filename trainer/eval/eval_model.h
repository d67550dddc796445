// A frozen model opened to be evaluated: device, weights, tokenizer and, where they are used, gates.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "data/tokenizer.h"
#include "src/model/weights.h"
#include "trainer/eval/gate_set.h"

namespace seer {

struct EvalModelOptions {
  std::string model;               ///< Hugging Face model folder
  std::string gates;               ///< Gates folder; empty: none
  std::string device = "cpu";      ///< cpu, cuda
  std::string precision = "auto";  ///< auto, bf16, fp32
  int64_t threads = 0;             ///< CPU worker threads; 0: all
  bool stream = false;             ///< Read the layers' weights from the files in every pass
  int64_t block_size = 0;          ///< Of selections without gates; 0: 64
};

/// Null if the folder has none. Throws Error if the tokenizer has ids that the embedding of `model` does not.
std::shared_ptr<const Tokenizer> open_tokenizer(const std::filesystem::path& folder,
                                                const ModelConfig& model);

class EvalModel {
 public:
  static constexpr int64_t kDefaultBlock = 64;

  /// `max_tokens` bounds every sequence.
  EvalModel(const EvalModelOptions& options, int64_t max_tokens);
  /// On that backend, whatever device the options name.
  EvalModel(std::unique_ptr<Backend> backend, const EvalModelOptions& options, int64_t max_tokens);

  const EvalModelOptions& options() const { return options_; }
  Backend& backend() { return *backend_; }
  const ModelConfig& config() const { return config_; }
  FrozenWeights& weights() { return *weights_; }
  const GateSet* gates() const { return gates_ ? &*gates_ : nullptr; }
  int64_t max_tokens() const { return max_tokens_; }
  /// Of the gates, or as the options say.
  int64_t block_size() const {
    if (gates_) return gates_->entry().block_size;
    return options_.block_size > 0 ? options_.block_size : kDefaultBlock;
  }

  /// Null if the model's folder has none.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  std::shared_ptr<const Tokenizer> shared_tokenizer() const { return tokenizer_; }

 private:
  EvalModelOptions options_;
  int64_t max_tokens_;
  std::unique_ptr<Backend> backend_;
  ModelConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Queue> load_queue_;
  std::optional<FrozenWeights> weights_;
  std::optional<GateSet> gates_;
};

}  // namespace seer
