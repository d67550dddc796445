// The tables that a loaded tokenizer works with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe.h"
#include "data/bpe_words.h"
#include "data/pretokenizer.h"
#include "data/tokenizer.h"
#include "data/tokenizer_added.h"
#include "data/tokenizer_spec.h"

namespace seer {

/// Everything public is constant once built, except `eos`, which another file tells.
struct Tokenizer::Tables {
  /// Checks the spec: ids unique and in range, merges of known tokens, all 256 bytes, valid regexes. Throws
  /// Error starting with the spec's `where`.
  explicit Tables(const TokenizerSpec& spec);
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  /// Raw bytes of a token; throws Error if no token has the id.
  std::string_view token(int64_t id) const;

  std::string where;
  std::string bytes;                     ///< Of all tokens.
  std::vector<std::string_view> tokens;  ///< By id, into `bytes`; empty where no token has the id.
  std::vector<bool> special;             ///< By id.
  WordTable words;                       ///< model.vocab by bytes.
  std::unordered_map<std::string_view, int32_t> added;  ///< By content.
  AddedTokenFinder in_given_text;
  AddedTokenFinder in_normalized_text;
  bool nfc;
  std::optional<int32_t> bos;
  std::optional<std::string> eos;
  std::optional<PreTokenizer> pre_tokenizer;
  std::optional<Bpe> bpe;

 private:
  std::string_view keep(std::string_view token);
  void name_id(int64_t id, std::string_view token);
  void add_vocab(const TokenizerSpec& spec);
  void add_added(const TokenizerSpec& spec);
  std::vector<Bpe::Merge> resolve_merges(const TokenizerSpec& spec) const;
};

}  // namespace seer
