#include "data/shuffle_buffer.h"

#include <span>
#include <utility>

#include "src/core/error.h"
#include "src/core/rng.h"

namespace seer {

ShuffleBuffer::ShuffleBuffer(bool shuffle, int64_t block_size, uint64_t seed)
    : shuffle_(shuffle), block_size_(shuffle ? block_size : 1), seed_(seed) {
  SEER_CHECK(block_size_ > 0, "shuffle buffer of {} sequences", block_size_);
}

std::vector<TokenSequence> ShuffleBuffer::take(int64_t first_number) {
  if (shuffle_) {
    Rng rng = Rng(seed_).fork("block").fork(static_cast<uint64_t>(first_number / block_size_));
    rng.shuffle(std::span<TokenSequence>(sequences_));
  }
  for (size_t i = 0; i < sequences_.size(); ++i)
    sequences_[i].number = first_number + static_cast<int64_t>(i);
  return std::exchange(sequences_, {});
}

}  // namespace seer
