#include "trainer/eval/held_out.h"

#include <algorithm>

#include "data/held_out_windows.h"
#include "src/core/error.h"
#include "src/core/log.h"

namespace seer {
namespace {

void check_length(int64_t length) {
  if (length < 2) fail_usage("--seq {}: a window has at least 2 tokens", length);
}

std::vector<std::vector<int32_t>> read(const HeldOutFlags& flags, const ModelConfig& model,
                                       const std::shared_ptr<const Tokenizer>& tokenizer,
                                       const ReadLimits& limits) {
  LoaderOptions data;
  data.files = flags.data;
  data.text_field = flags.text_field;
  data.vocab_size = model.vocab_size;
  std::optional<TokenizerEncoder> encoder;
  if (tokenizer != nullptr) encoder.emplace(tokenizer, detect_chat_format(*tokenizer));
  return read_documents(data, encoder ? &*encoder : nullptr, limits);
}

}  // namespace

int64_t default_length(const ModelConfig& model) {
  constexpr int64_t kTokens = 8192;
  return std::min(kTokens, model.max_position_embeddings);
}

std::vector<std::vector<int32_t>> held_out_documents(const HeldOutFlags& flags, const EvalModel& model) {
  return read(flags, model.config(), model.shared_tokenizer(), {.documents = flags.documents});
}

std::vector<int32_t> held_out_sequence(const HeldOutFlags& flags, const ModelConfig& model,
                                       const std::shared_ptr<const Tokenizer>& tokenizer, int64_t length) {
  check_length(length);
  WindowOptions options{.length = length};
  if (tokenizer != nullptr) options.bos = tokenizer->bos_id();
  // As much as it takes: the first book is long enough as a rule, and a corpus is not read for its sake.
  const std::vector<int32_t> joined = join_documents(
      read(flags, model, tokenizer, {.documents = flags.documents, .tokens = length}), options.bos);
  std::vector<std::vector<int32_t>> windows = cut_windows({&joined, 1}, options);
  if (windows.empty()) {
    fail(
        "--seq {}: the texts of --data {} have {} tokens together: a longer text or a smaller --seq was "
        "expected",
        length, fmt::join(flags.data, ","), joined.size() + (options.bos ? 1 : 0));
  }
  return std::move(windows.front());
}

std::vector<std::vector<int32_t>> held_out_windows(const HeldOutFlags& flags, const EvalModel& model,
                                                   const std::vector<std::vector<int32_t>>& documents,
                                                   int64_t length) {
  check_length(length);
  WindowOptions options{
      .length = length, .per_document = flags.windows, .keep_document_bos = flags.keep_document_bos};
  if (model.tokenizer() != nullptr) options.bos = model.tokenizer()->bos_id();
  std::vector<std::vector<int32_t>> windows = cut_windows(documents, options);
  if (windows.empty()) {
    fail("--seq {}: none of the {} documents of --data is that long", length, documents.size());
  }
  const auto too_short =
      std::count_if(documents.begin(), documents.end(),
                    [&](const std::vector<int32_t>& document) { return windows_in(document, options) == 0; });
  if (too_short > 0)
    log::info("{} of {} documents have fewer than {} tokens and are left out", too_short, documents.size(),
              length);
  return windows;
}

}  // namespace seer
