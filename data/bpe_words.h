// From the bytes of a token to its id.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace seer {

/// A hash table in two flat arrays: looking up the tokens of 280,000 merges was a third of loading a
/// tokenizer with std::unordered_map. Views given to insert() must outlive it; const methods may be called
/// from any number of threads.
class WordTable {
 public:
  /// Room for `words` words; insert() throws beyond it.
  explicit WordTable(size_t words);

  /// False, changing nothing, if the word is there already.
  bool insert(std::string_view word, int32_t id);
  std::optional<int32_t> find(std::string_view word) const;
  size_t size() const { return words_.size(); }

 private:
  struct Word {
    std::string_view text;
    int32_t id;
  };
  struct Slot {
    uint32_t tag;
    int32_t word;  // index into words_; -1: empty
  };
  // The slot that holds the word, or the empty one where it belongs.
  size_t locate(std::string_view word, uint64_t hash) const;

  std::vector<Word> words_;
  std::vector<Slot> slots_;  ///< Open addressing, at most half full.
};

}  // namespace seer
