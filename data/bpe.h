// Byte-pair merging inside one pre-token.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/bpe_words.h"

namespace seer {

/// The merges of a byte-level BPE model. Immutable; apply() may be called from any number of threads.
class Bpe {
 public:
  struct Merge {
    int32_t left;
    int32_t right;
    int32_t merged;
  };

  /// `words` maps the bytes of every token to its id and must outlive the Bpe; `merges` stand in order of
  /// priority. With `ignore_merges` a pre-token that is a token itself is never merged up from bytes. Throws
  /// Error, starting with `where`, if one of the 256 single bytes is no token
  /// or a pair stands in two merges.
  Bpe(const WordTable& words, const std::vector<Merge>& merges, bool ignore_merges, const std::string& where);

  /// Appends the ids of `word`: starting from bytes, the leftmost pair of the earliest merge is joined until
  /// no pair is left. Short words are remembered in a cache of fixed size (2 MiB a thread). O(n log n).
  void apply(std::string_view word, std::vector<int32_t>& out) const;

 private:
  struct Slot {
    uint64_t pair;
    uint32_t rank;
    int32_t merged;
  };
  const Slot* find(int32_t left, int32_t right) const;
  bool insert(const Merge& merge, uint32_t rank);  ///< False if the pair is there already.
  void merge(std::string_view word, std::vector<int32_t>& out) const;
  void merge_short(std::string_view word, std::vector<int32_t>& out) const;
  void merge_long(std::string_view word, std::vector<int32_t>& out) const;

  const WordTable& words_;
  bool ignore_merges_;
  uint32_t cache_owner_;  ///< Tells this model's cache entries from those of others in the same thread.
  std::array<int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  ///< Open addressing, at most half full.
  unsigned shift_ = 0;       ///< 64 - log2(slots)
};

}  // namespace seer
