// Byte-level BPE tokenizers as Hugging Face stores them: text to token ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace seer {

struct EncodeOptions {
  /// Put bos_id() in front where the post-processor does (Llama-3); Qwen's adds nothing.
  bool add_special_tokens = true;
  /// Recognise added tokens (special ones and others) that are spelled out in the text. When false no part
  /// of the text becomes an added token: "<|eot_id|>" is then encoded as plain text.
  bool parse_special = true;
};

/// One loaded tokenizer. Immutable, cheap to copy (copies share the tables); every method may be called from
/// any number of threads at once.
///
/// Ids equal those of Hugging Face's tokenizers for valid UTF-8. Bytes that are no valid UTF-8 (which that
/// library cannot even receive) are encoded as themselves: each run of bad bytes is a pre-token of its own,
/// so that decoding gives them back.
///
/// Supported: BPE over bytes, normaliser none or NFC, pre-tokenizer of Split (regex, Isolated) and ByteLevel,
/// added tokens, post-processor that puts at most one token in front. The file's truncation and padding
/// settings are not applied. Anything else is refused by name when the file is loaded.
class Tokenizer {
 public:
  /// Loads a folder with tokenizer.json, or else with vocab.json, merges.txt and tokenizer_config.json (of
  /// class Qwen2Tokenizer, whose regex and normaliser those files imply); or the file tokenizer.json itself.
  /// Throws Error naming the file and the key that is missing, damaged or not supported.
  explicit Tokenizer(const std::filesystem::path& folder_or_file);

  /// Parses the text of a tokenizer.json; `where` names it in errors.
  static Tokenizer from_json(std::string_view tokenizer_json, const std::string& where);

  /// Appends the ids of `text` to `out`. Takes time in proportion to the text (n log n within a pre-token,
  /// and some 40 bytes of memory for each byte of the longest one).
  /// Throws Error if the text is 2 GiB or longer, or if the file's own regex backtracks without end.
  void encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& out) const;
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// The bytes of the tokens, joined; not valid UTF-8 where the ids cut a character. `skip_special` leaves
  /// out the added tokens that are marked special. Throws Error on an id that has no token.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  /// The id of an added token by its content, or of a vocabulary entry by its raw bytes (" the", not "Ġthe").
  std::optional<int32_t> token_to_id(std::string_view token) const;
  /// Raw bytes of a token; lives as long as the tokenizer or any copy. Throws Error on an id without a token.
  std::string_view id_to_token(int32_t id) const;

  /// Largest id + 1. The embedding may have more rows than this, never fewer.
  int64_t vocab_size() const;
  /// The id that the post-processor puts in front of a text, if it does.
  std::optional<int32_t> bos_id() const;
  /// eos_token of the tokenizer_config.json that lies beside the file, if there is one.
  std::optional<std::string> eos_token() const;

  struct Tables;  ///< data/tokenizer_tables.h

 private:
  explicit Tokenizer(std::shared_ptr<const Tables> tables);

  std::shared_ptr<const Tables> tables_;
};

}  // namespace seer
