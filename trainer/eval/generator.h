// Generation: a prefill, sparse or dense, then dense decoding token by token with a KV cache.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "trainer/eval/eval_model.h"
#include "trainer/eval/forward_pass.h"
#include "trainer/eval/sampler.h"

namespace seer {

struct GenerateOptions {
  int64_t max_new_tokens = 256;
  SamplingOptions sampling;
  std::vector<int32_t> stop_ids;      ///< End the text and are no part of it
  std::vector<int32_t> banned_first;  ///< Never the first token: the next likeliest is
  std::vector<std::string> stops;     ///< Texts that end it and are no part of it
};

struct Generation {
  std::string text;
  std::vector<int32_t> ids;  ///< Without a stop token
  bool stopped = false;      ///< By a stop token or text, not by max_new_tokens
  double density = 1;        ///< Of the prefill
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

/// Tokens that end an answer of this model: the EOS ids of config.json and generation_config.json, and the ends of a turn of
/// the chat format its tokenizer, where it has one, knows.
std::vector<int32_t> stop_ids_of(const std::filesystem::path& folder, const ModelConfig& config,
                                 const Tokenizer* tokenizer);
inline std::vector<int32_t> stop_ids_of(const EvalModel& model) {
  return stop_ids_of(model.options().model, model.config(), model.tokenizer());
}

class Generator {
 public:
  /// Prompts and answers together may have model.max_tokens() tokens. `methods` are those that plans may name.
  Generator(EvalModel& model, std::vector<ScoringMethod> methods);

  /// `on_text` is called with each piece of whole UTF-8 characters as it is known to belong to the answer. Throws Error if
  /// the prompt leaves no room for an answer.
  Generation generate(std::span<const int32_t> prompt, const AttentionPlan& plan,
                      const GenerateOptions& options,
                      const std::function<void(std::string_view)>& on_text = {});

 private:
  EvalModel& model_;
  ForwardPass pass_;
  KvCache cache_;
  bool hinted_ = false;  ///< That calibration was at another length
};

/// Text that arrives token by token: what may already be shown, and whether a stop text has come.
class TextStream {
 public:
  /// No stop may be empty.
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The next bytes. Returns the text that is now certain: whole characters (bytes
  /// that are none stand for themselves), none of which may begin a stop text.
  std::string_view add(std::string_view bytes);
  /// What was held back, once nothing follows.
  std::string_view finish();
  bool stopped() const { return stopped_; }
  /// All text up to here, or up to the stop text.
  const std::string& text() const { return text_; }

 private:
  std::string_view release(size_t end);

  std::vector<std::string> stops_;
  std::string text_;
  size_t shown_ = 0;
  bool stopped_ = false;
};

}  // namespace seer
