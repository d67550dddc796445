// What a tokenizer's files say, before tables are made of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace seer {

struct AddedToken {
  int32_t id;
  std::string content;
  bool normalized;  ///< Looked for in the normalised text, in place of the text as given.
  bool special;
};

/// A piece of model.vocab in the byte-level alphabet ("Ġthe"), with its id as written, which may be out of
/// range.
struct VocabEntry {
  std::string spelling;
  int64_t id;
};

struct TokenizerSpec {
  std::string where;  ///< Names the file or folder in errors.
  std::vector<VocabEntry> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  ///< Spellings, in order of priority.
  std::vector<AddedToken> added;
  std::vector<std::string> split_regexes;
  bool nfc = false;
  bool ignore_merges = false;
  std::optional<int64_t> bos_id;  ///< What the post-processor puts in front.
};

/// Largest id that is accepted; a damaged file must not make us allocate tables of any size.
constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

}  // namespace seer
