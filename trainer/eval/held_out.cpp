#include "trainer/eval/held_out.h"

#include "data/held_out_windows.h"
#include "src/core/error.h"

namespace seer {

std::vector<std::vector<int32_t>> held_out_documents(const HeldOutFlags& flags, const EvalModel& model) {
  LoaderOptions data;
  data.files = flags.data;
  data.text_field = flags.text_field;
  data.vocab_size = model.config().vocab_size;
  std::optional<TokenizerEncoder> encoder;
  if (model.tokenizer() != nullptr)
    encoder.emplace(model.shared_tokenizer(), detect_chat_format(*model.tokenizer()));
  return read_documents(data, encoder ? &*encoder : nullptr, flags.documents);
}

std::vector<std::vector<int32_t>> held_out_windows(const HeldOutFlags& flags, const EvalModel& model,
                                                   const std::vector<std::vector<int32_t>>& documents,
                                                   int64_t length) {
  if (length < 2) fail_usage("--seq {}: a window has at least 2 tokens", length);
  WindowOptions options{
      .length = length, .per_document = flags.windows, .keep_document_bos = flags.keep_document_bos};
  if (model.tokenizer() != nullptr) options.bos = model.tokenizer()->bos_id();
  std::vector<std::vector<int32_t>> windows = cut_windows(documents, options);
  if (windows.empty()) {
    fail("--seq {}: none of the {} documents of --data is that long", length, documents.size());
  }
  return windows;
}

}  // namespace seer
