// A seeded shuffle of a stream of sequences whose state is one integer.
#pragma once

#include <cstdint>
#include <vector>

#include "data/token_sequence.h"

namespace seer {

/// Collects `block_size` consecutive sequences and permutes them by Rng(seed).fork("block").fork(block):
/// block b holds sequences b*K .. b*K + K-1 of the stream, before as after the shuffle. (A buffer that swaps
/// each arrival for a random one shuffles a little further, but its state is K sequences.)
class ShuffleBuffer {
 public:
  /// With `shuffle` false a block is one sequence.
  ShuffleBuffer(bool shuffle, int64_t block_size, uint64_t seed);

  int64_t block_size() const { return block_size_; }

  /// The first sequence of the block that sequence `number` belongs to.
  int64_t block_start(int64_t number) const { return number / block_size_ * block_size_; }

  void add(TokenSequence&& sequence) { sequences_.push_back(std::move(sequence)); }
  bool empty() const { return sequences_.empty(); }
  bool full() const { return static_cast<int64_t>(sequences_.size()) == block_size_; }

  /// Takes the sequences out, permuted and numbered from `first_number`, which is a block's start. At the end
  /// of the stream a block may be short.
  std::vector<TokenSequence> take(int64_t first_number);

 private:
  bool shuffle_;
  int64_t block_size_;
  uint64_t seed_;
  std::vector<TokenSequence> sequences_;
};

}  // namespace seer
