#include "trainer/runtime.h"

#include <algorithm>

#include "data/file_list.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/core/thread_pool.h"
#include "src/cpu/cpu_backend.h"
#ifdef SEER_HAVE_CUDA
#include "cuda/cuda_backend.h"
#endif
#include "trainer/run_folder.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

bool holds_tokenizer(const fs::path& path) {
  return fs::is_regular_file(path) || fs::exists(path / "tokenizer.json") || fs::exists(path / "vocab.json");
}

std::optional<ChatFormat> chat_format(const RunConfig& config, const Tokenizer& tokenizer) {
  if (config.data.chat_template == "llama3") return ChatFormat::kLlama3;
  if (config.data.chat_template == "chatml") return ChatFormat::kChatMl;
  return detect_chat_format(tokenizer);
}

std::optional<int32_t> find_separator(const RunConfig& config, const ModelConfig& model,
                                      const Tokenizer& tokenizer) {
  if (!config.data.separator.empty()) {
    const auto id = tokenizer.token_to_id(config.data.separator);
    if (!id) fail_usage("data.separator \"{}\" is not a token of the tokenizer", config.data.separator);
    return id;
  }
  if (const auto eos = tokenizer.eos_token()) {
    const auto id = tokenizer.token_to_id(*eos);
    if (!id) fail("tokenizer_config.json names eos_token \"{}\", which the tokenizer does not have", *eos);
    return id;
  }
  if (model.eos_token_ids.empty()) {
    fail_usage(
        "neither tokenizer_config.json nor the model's config.json names an EOS token: set data.separator");
  }
  return static_cast<int32_t>(model.eos_token_ids.front());
}

DataLayout layout_of(const RunConfig& config) {
  return config.data.layout == "packed" ? DataLayout::kPacked : DataLayout::kJoined;
}

LoaderOptions common_data(const RunConfig& config, const ModelConfig& model, const TextPipeline& text) {
  LoaderOptions options;
  options.layout = layout_of(config);
  options.separator = text.separator;
  options.vocab_size = model.vocab_size;
  options.text_field = config.data.text_field;
  options.seed = config.seed;
  options.max_bad_lines = config.data.max_bad_lines;
  options.tokenizer_threads = config.data.tokenizer_threads;
  options.prefetch = config.data.prefetch;
  for (const GateEntryConfig& gate : config.gates) {
    options.min_document_tokens = std::max(options.min_document_tokens, 2 * gate.block_size);
  }
  return options;
}

}  // namespace

std::unique_ptr<Backend> make_backend(const RunConfig& config, int local_ranks,
                                      [[maybe_unused]] int reserved_sms) {
  if (config.device == "cpu") {
    const auto asked = static_cast<int>(config.threads);
    return make_cpu_backend(
        {.threads =
             asked > 0 ? asked : std::max(1, ThreadPool::hardware_threads() / std::max(1, local_ranks))});
  }
#ifdef SEER_HAVE_CUDA
  std::string why;
  if (!cuda_available(&why)) fail("{}; device \"cpu\" needs none", why);
  return make_cuda_backend(
      {.precision = config.precision == "fp32" ? CudaPrecision::kFp32 : CudaPrecision::kBf16,
       .reserved_sms = reserved_sms});
#else
  fail(
      "device \"cuda\": this build has no CUDA backend: configure with -DSEER_CUDA=ON where nvcc is "
      "installed, or use device "
      "\"cpu\"");
#endif
}

void check_paths(const RunConfig& config, bool resume) {
  const auto exists = [](const std::string& key, const std::string& path) {
    if (!path.empty() && !fs::exists(path)) fail_usage("{}: {} does not exist", key, path);
  };
  exists("model.path", config.model.path);
  exists("data.tokenizer", config.data.tokenizer);
  for (size_t g = 0; g < config.gates.size(); ++g)
    exists(fmt::format("gates[{}].init_from", g), config.gates[g].init_from);
  const auto expands = [](const std::string& key, const std::vector<std::string>& inputs) {
    try {
      if (!inputs.empty()) expand_inputs(inputs);
    } catch (const Error& e) {
      fail_usage("{}: {}", key, e.what());
    }
  };
  expands("data.files", config.data.files);
  expands("eval.files", config.eval.files);
  if (!resume && RunPaths{config.output.dir}.holds_run()) {
    fail_usage("output.dir: {} already holds a run: continue it with --resume, or name another folder",
               config.output.dir);
  }
}

int64_t max_sequence_length(const RunConfig& config) {
  const int64_t eval = config.eval.files.empty() ? 0 : config.eval.sequence_length;
  return std::max(config.data.sequence_length, eval);
}

SessionOptions session_options(const RunConfig& config) {
  return {.gates = config.gates,
          .total_steps = config.train.steps,
          .batch_size = config.train.batch_size,
          .max_tokens = max_sequence_length(config),
          .packed = layout_of(config) == DataLayout::kPacked,
          .densities = config.eval.files.empty() ? std::vector<double>() : config.eval.densities};
}

TextPipeline make_text_pipeline(const RunConfig& config, const ModelConfig& model) {
  const fs::path path = config.data.tokenizer.empty() ? config.model.path : config.data.tokenizer;
  if (!holds_tokenizer(path)) {
    if (!config.data.tokenizer.empty())
      fail_usage("data.tokenizer {} holds no tokenizer.json or vocab.json", path.string());
    return {};
  }
  const auto tokenizer = std::make_shared<const Tokenizer>(path);
  if (tokenizer->vocab_size() > model.vocab_size) {
    fail(
        "the tokenizer in {} has ids up to {}, the model's embedding has {} rows: they do not belong "
        "together",
        path.string(), tokenizer->vocab_size() - 1, model.vocab_size);
  }
  return {std::make_shared<const TokenizerEncoder>(tokenizer, chat_format(config, *tokenizer)),
          find_separator(config, model, *tokenizer)};
}

LoaderOptions training_data(const RunConfig& config, const ModelConfig& model, const TextPipeline& text,
                            const RankPlace& place) {
  LoaderOptions options = common_data(config, model, text);
  options.files = config.data.files;
  options.sequence_length = config.data.sequence_length;
  options.shuffle = config.data.shuffle;
  options.shuffle_buffer = config.data.shuffle_buffer;
  options.batch_size = config.train.batch_size;
  options.rank = place.data_rank();
  options.world = place.data_size();
  return options;
}

std::vector<TokenSequence> load_held_out(const RunConfig& config, const ModelConfig& model,
                                         const TextPipeline& text) {
  LoaderOptions options = common_data(config, model, text);
  options.files = config.eval.files;
  options.sequence_length =
      config.eval.sequence_length > 0 ? config.eval.sequence_length : config.data.sequence_length;
  options.shuffle = false;
  options.shuffle_buffer = 1;
  options.max_epochs = 1;
  std::vector<TokenSequence> sequences;
  try {
    Loader loader(options, text.encoder);
    while (static_cast<int64_t>(sequences.size()) < config.eval.sequences) {
      auto next = loader.next();
      if (!next) break;
      sequences.push_back(std::move(*next));
    }
  } catch (const Error& e) {  // whose message knows no key: the loader reads training data as well
    throw Error(fmt::format("eval.files: {}", e.what()), e.kind());
  }
  if (static_cast<int64_t>(sequences.size()) < config.eval.sequences) {
    log::warn("eval.files hold {} sequences of {} tokens, eval.sequences asks for {}", sequences.size(),
              options.sequence_length, config.eval.sequences);
  }
  return sequences;
}

}  // namespace seer
