// From one document of text to token ids: the seam between the data pipeline and the tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/tokenizer.h"

namespace seer {

/// A document as a file holds it: running text, or the turns of a conversation.
struct Document {
  std::string text;
  std::vector<ChatMessage> messages;  ///< Not empty: the document is a conversation, and `text` is unused.
};

/// Turns documents into ids. Implementations are thread-safe.
class TokenEncoder {
 public:
  virtual ~TokenEncoder() = default;

  /// Puts the ids of `document` into `ids`, without the separator that ends documents. Throws a run-time
  /// Error if this document cannot be encoded (its line then counts as bad), a usage Error if the settings
  /// cannot encode documents of its kind.
  virtual void encode(const Document& document, std::vector<int32_t>& ids) const = 0;

  /// Differs between encoders that give different ids; part of the data cursor's fingerprint.
  virtual std::string fingerprint() const = 0;
};

/// The encoder of real runs. Text is encoded as the Hugging Face tokenizer does it, BOS included where the
/// post-processor adds one; conversations are rendered by the chat template (no generation prompt), which
/// writes its own special tokens. Without `chat_format`, conversations are a usage Error.
class TokenizerEncoder : public TokenEncoder {
 public:
  TokenizerEncoder(std::shared_ptr<const Tokenizer> tokenizer, std::optional<ChatFormat> chat_format);

  void encode(const Document& document, std::vector<int32_t>& ids) const override;
  std::string fingerprint() const override;

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<ChatFormat> chat_format_;
};

}  // namespace seer
