// From a config to the objects a run works with: device, model, tokenizer, data.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/tokenizer.h"
#include "src/model/model_config.h"
#include "src/ops/backend.h"
#include "trainer/run_config.h"
#include "trainer/session.h"

namespace seer {

/// The device of `config.device` in `config.precision`, with `config.threads` workers on a CPU (by default its share of
/// the cores, where `local_ranks` processes run on this machine) and `reserved_sms` multiprocessors of a GPU left to exchanges; throws Error saying what a GPU lacks: the build's
/// support, a driver, the device itself.
std::unique_ptr<Backend> make_backend(const RunConfig& config, int local_ranks = 1, int reserved_sms = 0);

/// Throws a usage Error naming the config key if a file or folder that the config names does not exist, or if output.dir
/// already holds a run and `resume` is false.
void check_paths(const RunConfig& config, bool resume);

/// The largest number of tokens of a training or evaluation sequence.
int64_t max_sequence_length(const RunConfig& config);

SessionOptions session_options(const RunConfig& config);

/// What turns text into ids, and the id that ends documents.
struct TextPipeline {
  std::shared_ptr<const TokenEncoder> encoder;  ///< Null if the model has no tokenizer: data must then be ids
  std::optional<int32_t> separator;
};

/// Loads the tokenizer of the config (or of the model's folder) and finds the separator as SEMANTICS 5 says:
/// data.separator, else tokenizer_config.json's eos_token, else the first EOS of the model. Throws Error if
/// the tokenizer has ids the embedding does not, or the separator is no token.
TextPipeline make_text_pipeline(const RunConfig& config, const ModelConfig& model);

/// The training data of the config, endless, in the config's order: the share of the rank at `place`.
LoaderOptions training_data(const RunConfig& config, const ModelConfig& model, const TextPipeline& text,
                            const RankPlace& place = {});

/// The first `eval.sequences` sequences of the held-out files, in file order. Fewer are an Error if there are
/// none, else a warning.
std::vector<TokenSequence> load_held_out(const RunConfig& config, const ModelConfig& model,
                                         const TextPipeline& text);

}  // namespace seer
