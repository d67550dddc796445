#include "data/bpe_words.h"

#include <bit>
#include <functional>

#include "src/core/error.h"

namespace seer {
namespace {

uint64_t hash_of(std::string_view word) {
  return std::hash<std::string_view>{}(word);
}

// The bits that do not choose the slot.
uint32_t tag_of(uint64_t hash) {
  return static_cast<uint32_t>(hash >> 32U);
}

}  // namespace

WordTable::WordTable(size_t words) : slots_(std::bit_ceil(2 * words + 2), Slot{0, -1}) {
  words_.reserve(words);
}

size_t WordTable::locate(std::string_view word, uint64_t hash) const {
  size_t at = hash & (slots_.size() - 1);
  for (; slots_[at].word >= 0; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].tag == tag_of(hash) && words_[static_cast<size_t>(slots_[at].word)].text == word) break;
  return at;
}

bool WordTable::insert(std::string_view word, int32_t id) {
  SEER_CHECK(words_.size() < words_.capacity(), "table is full with {} words", words_.size());
  const uint64_t hash = hash_of(word);
  Slot& slot = slots_[locate(word, hash)];
  if (slot.word >= 0) return false;
  slot = {tag_of(hash), static_cast<int32_t>(words_.size())};
  words_.push_back({word, id});
  return true;
}

std::optional<int32_t> WordTable::find(std::string_view word) const {
  const Slot& slot = slots_[locate(word, hash_of(word))];
  if (slot.word < 0) return std::nullopt;
  return words_[static_cast<size_t>(slot.word)].id;
}

}  // namespace seer
