#include "data/token_encoder.h"

#include <utility>

#include <fmt/format.h>

#include "src/core/error.h"

namespace seer {

TokenizerEncoder::TokenizerEncoder(std::shared_ptr<const Tokenizer> tokenizer,
                                   std::optional<ChatFormat> chat_format)
    : tokenizer_(std::move(tokenizer)), chat_format_(chat_format) {
  SEER_CHECK(tokenizer_ != nullptr, "no tokenizer");
}

void TokenizerEncoder::encode(const Document& document, std::vector<int32_t>& ids) const {
  ids.clear();
  if (document.messages.empty()) {
    tokenizer_->encode(document.text, EncodeOptions{.add_special_tokens = true, .parse_special = true}, ids);
    return;
  }
  if (!chat_format_) {
    fail_usage(
        "`messages` cannot be rendered: the tokenizer has the special tokens of neither chat template; set "
        "data.chat_template to llama3 or chatml");
  }
  tokenizer_->encode(render_chat(*chat_format_, document.messages, false),
                     EncodeOptions{.add_special_tokens = false, .parse_special = true}, ids);
}

std::string TokenizerEncoder::fingerprint() const {
  // Two tokenizers that agree on this text and on their size are taken for the same.
  constexpr std::string_view kProbe =
      "Naïve café: 1234567 blocks, it's  the\n\n\tunquestionably longest <|im_end|>";
  uint64_t hash = 0;
  for (const int32_t id : tokenizer_->encode(kProbe)) hash = hash * 1'000'003 + static_cast<uint64_t>(id);
  const std::string_view chat = !chat_format_                          ? "none"
                                : *chat_format_ == ChatFormat::kLlama3 ? "llama3"
                                                                       : "chatml";
  return fmt::format("tokenizer={}:{:016x} chat={}", tokenizer_->vocab_size(), hash, chat);
}

}  // namespace seer
