#include "trainer/eval/eval_model.h"

#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/runtime.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

std::unique_ptr<Backend> open_backend(const EvalModelOptions& options) {
  if (options.device == "cpu" && options.precision == "bf16")
    fail_usage("--precision bf16: the CPU computes in fp32: leave it out, or add --device cuda");
  RunConfig config;
  config.device = options.device;
  config.precision = options.precision;
  config.threads = options.threads;
  return make_backend(config);
}

}  // namespace

std::shared_ptr<const Tokenizer> open_tokenizer(const fs::path& folder, const ModelConfig& model) {
  if (!fs::exists(folder / "tokenizer.json") && !fs::exists(folder / "vocab.json")) return nullptr;
  auto tokenizer = std::make_shared<const Tokenizer>(folder);
  if (tokenizer->vocab_size() > model.vocab_size) {
    fail(
        "the tokenizer in {} has ids up to {}, the model's embedding has {} rows: they do not belong "
        "together",
        folder.string(), tokenizer->vocab_size() - 1, model.vocab_size);
  }
  return tokenizer;
}

EvalModel::EvalModel(const EvalModelOptions& options, int64_t max_tokens)
    : EvalModel(open_backend(options), options, max_tokens) {}

EvalModel::EvalModel(std::unique_ptr<Backend> backend, const EvalModelOptions& options, int64_t max_tokens)
    : options_(options),
      max_tokens_(max_tokens),
      backend_(std::move(backend)),
      config_(load_model_config(options.model)),
      tokenizer_(open_tokenizer(options.model, config_)),
      load_queue_(backend_->make_queue("load")) {
  if (max_tokens > config_.max_position_embeddings) {
    log::warn("sequences of {} tokens are longer than the model's max_position_embeddings {}", max_tokens,
              config_.max_position_embeddings);
  }
  weights_.emplace(*backend_, *load_queue_, config_, options.model,
                   WeightOptions{.stream = options.stream, .head = true});
  if (!options.gates.empty()) gates_.emplace(*backend_, *load_queue_, options.gates, config_, max_tokens);
  if (gates_ && options.block_size > 0 && options.block_size != gates_->entry().block_size) {
    fail_usage("--block {}: the gates in {} are for blocks of {}", options.block_size, options.gates,
               gates_->entry().block_size);
  }
  backend_->synchronize(*load_queue_);
}

}  // namespace seer
