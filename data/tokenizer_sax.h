// Reads tokenizer.json and vocab.json without building a tree of their hundred thousands of tokens and
// merges, and without overlooking duplicate keys.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "data/tokenizer_spec.h"

namespace seer {

struct VocabAndMerges {
  std::vector<VocabEntry> vocab;
  std::vector<std::pair<std::string, std::string>> merges;
};

/// Parses a tokenizer.json: model.vocab and model.merges are returned (merges written as "a b" or ["a",
/// "b"]), everything else is stored in `rest`, where the two keys hold an empty object and an empty array.
/// Throws Error starting with `where` on invalid JSON, a duplicate key, nesting deeper than 64 levels, or an
/// entry of the wrong type.
VocabAndMerges parse_tokenizer_document(std::string_view text, const std::string& where,
                                        nlohmann::json& rest);

/// Parses a vocab.json: one object from token to id.
std::vector<VocabEntry> parse_vocab_document(std::string_view text, const std::string& where);

/// Splits "a b" into its two tokens; nothing for any other text.
std::optional<std::pair<std::string, std::string>> split_merge(std::string_view merge);

}  // namespace seer
