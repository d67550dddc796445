#include "data/bpe.h"

#include <atomic>
#include <bit>
#include <cstring>
#include <functional>
#include <memory>
#include <queue>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr uint64_t kNoPair = ~uint64_t{0};
constexpr uint64_t kMixer = 0x9e3779b97f4a7c15U;
constexpr uint32_t kNoRank = ~uint32_t{0};

// Below this length looking through all pairs for the best one is faster than keeping a heap of them.
constexpr size_t kShortWord = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32U) | static_cast<uint32_t>(right);
}

// One remembered word; a cache line.
struct alignas(64) CachedWord {
  uint32_t owner;  // 0: empty
  uint8_t length;
  uint8_t count;
  std::array<char, 26> bytes;
  std::array<int32_t, 8> ids;
};
static_assert(sizeof(CachedWord) == 64);

class WordCache {
 public:
  WordCache() : words_(std::make_unique<CachedWord[]>(size_t{1} << kLog2Words)) {}

  CachedWord& at(std::string_view word) {
    return words_[(std::hash<std::string_view>{}(word)*kMixer) >> (64 - kLog2Words)];
  }

 private:
  static constexpr unsigned kLog2Words = 15;
  std::unique_ptr<CachedWord[]> words_;
};

WordCache& thread_cache() {
  thread_local WordCache cache;
  return cache;
}

}  // namespace

Bpe::Bpe(const WordTable& words, const std::vector<Merge>& merges, bool ignore_merges,
         const std::string& where)
    : words_(words), ignore_merges_(ignore_merges), byte_ids_{} {
  static std::atomic<uint32_t> owners{0};
  cache_owner_ = ++owners;
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const char spelled = static_cast<char>(byte);
    const auto found = words.find({&spelled, 1});
    if (!found)
      fail("{}: model.vocab has no token for the byte 0x{:02x}; byte-level BPE needs all 256", where, byte);
    byte_ids_[byte] = *found;
  }
  const size_t slots = std::bit_ceil(2 * merges.size() + 2);
  slots_.assign(slots, Slot{kNoPair, kNoRank, -1});
  shift_ = 64 - static_cast<unsigned>(std::countr_zero(slots));
  uint32_t rank = 0;
  for (const Merge& merge : merges) {
    if (!insert(merge, rank)) fail("{}: model.merges[{}] stands there twice", where, rank);
    ++rank;
  }
}

bool Bpe::insert(const Merge& merge, uint32_t rank) {
  const uint64_t pair = pair_of(merge.left, merge.right);
  size_t at = (pair * kMixer) >> shift_;
  for (; slots_[at].pair != kNoPair; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].pair == pair) return false;
  slots_[at] = {pair, rank, merge.merged};
  return true;
}

const Bpe::Slot* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  size_t at = (pair * kMixer) >> shift_;
  while (slots_[at].pair != pair) {
    if (slots_[at].pair == kNoPair) return nullptr;
    at = (at + 1) & (slots_.size() - 1);
  }
  return &slots_[at];
}

void Bpe::apply(std::string_view word, std::vector<int32_t>& out) const {
  if (word.size() == 1) {
    out.push_back(byte_ids_[static_cast<unsigned char>(word[0])]);
    return;
  }
  if (word.size() > CachedWord{}.bytes.size()) return merge(word, out);
  CachedWord& cached = thread_cache().at(word);
  if (cached.owner == cache_owner_ && cached.length == word.size() &&
      std::memcmp(cached.bytes.data(), word.data(), word.size()) == 0) {
    out.insert(out.end(), cached.ids.begin(), cached.ids.begin() + cached.count);
    return;
  }
  const size_t before = out.size();
  merge(word, out);
  const size_t count = out.size() - before;
  if (count > cached.ids.size()) return;
  cached.owner = cache_owner_;
  cached.length = static_cast<uint8_t>(word.size());
  cached.count = static_cast<uint8_t>(count);
  std::memcpy(cached.bytes.data(), word.data(), word.size());
  std::copy_n(out.data() + before, count, cached.ids.data());
}

void Bpe::merge(std::string_view word, std::vector<int32_t>& out) const {
  if (ignore_merges_) {
    if (const auto whole = words_.find(word); whole) {
      out.push_back(*whole);
      return;
    }
  }
  if (word.size() <= kShortWord) return merge_short(word, out);
  merge_long(word, out);
}

void Bpe::merge_short(std::string_view word, std::vector<int32_t>& out) const {
  std::array<int32_t, kShortWord> ids;
  std::array<uint32_t, kShortWord> ranks;   // of the pair (i, i + 1)
  std::array<int32_t, kShortWord> results;  // what that pair becomes
  size_t count = word.size();
  const auto look_up = [&](size_t i) {
    const Slot* slot = i + 1 < count ? find(ids[i], ids[i + 1]) : nullptr;
    ranks[i] = slot != nullptr ? slot->rank : kNoRank;
    results[i] = slot != nullptr ? slot->merged : -1;
  };
  for (size_t i = 0; i < count; ++i) ids[i] = byte_ids_[static_cast<unsigned char>(word[i])];
  for (size_t i = 0; i < count; ++i) look_up(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoRank) break;
    ids[best] = results[best];
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1];
      results[i] = results[i + 1];
    }
    look_up(best);
    if (best > 0) look_up(best - 1);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
}

// The same result with a heap of candidate pairs over a linked list of symbols. A candidate whose symbols
// have been merged with others since is recognised by their ids, which only ever grow to longer tokens.
void Bpe::merge_long(std::string_view word, std::vector<int32_t>& out) const {
  struct Symbol {
    int32_t id;  // -1: merged into the one before
    int32_t previous;
    int32_t next;  // -1: none
  };
  struct Candidate {
    uint64_t order;  // rank, then position
    uint64_t pair;
    int32_t merged;
    bool operator>(const Candidate& other) const { return order > other.order; }
  };
  SEER_CHECK(word.size() <= 0x7fff'ffff, "a pre-token of {} bytes", word.size());
  const auto size = static_cast<int32_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  for (int32_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<size_t>(i)]);
    symbols[static_cast<size_t>(i)] = {byte_ids_[byte], i - 1, i + 1 < size ? i + 1 : -1};
  }
  const auto symbol = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto push = [&](int32_t left) {
    if (left < 0 || symbol(left).next < 0) return;
    const int32_t first = symbol(left).id;
    const int32_t second = symbol(symbol(left).next).id;
    const Slot* slot = find(first, second);
    if (slot == nullptr) return;
    const uint64_t order = (static_cast<uint64_t>(slot->rank) << 32U) | static_cast<uint32_t>(left);
    queue.push({order, slot->pair, slot->merged});
  };
  for (int32_t i = 0; i < size; ++i) push(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const auto left = static_cast<int32_t>(top.order & 0xffff'ffffU);
    Symbol& first = symbol(left);
    if (first.id < 0 || first.next < 0 || pair_of(first.id, symbol(first.next).id) != top.pair) continue;
    Symbol& second = symbol(first.next);
    first.id = top.merged;
    first.next = second.next;
    second.id = -1;
    if (first.next >= 0) symbol(first.next).previous = left;
    push(left);
    push(first.previous);
  }
  for (int32_t i = 0; i >= 0; i = symbol(i).next) out.push_back(symbol(i).id);
}

}  // namespace seer
