#include "trainer/token_batches.h"

#include <algorithm>

namespace seer {
namespace {

bool holds(std::span<const MicroBatch> batches, std::span<const TokenSequence> sequences) {
  return std::equal(
      sequences.begin(), sequences.end(), batches.begin(), batches.end(),
      [](const TokenSequence& sequence, const MicroBatch& batch) { return batch.holds(sequence); });
}

}  // namespace

TokenBatches::TokenBatches(Backend& backend, int64_t count, const BatchShape& shape)
    : uploads_(backend.make_queue("tokens")) {
  for (Set& set : sets_) {
    set.uploaded = backend.make_event();
    set.batches.reserve(count);
    for (int64_t m = 0; m < count; ++m) set.batches.emplace_back(backend, shape);
  }
}

void TokenBatches::upload(Backend& backend, Set& set, std::span<const TokenSequence> sequences) {
  SEER_CHECK(sequences.size() <= set.batches.size(), "{} sequences for {} micro-batches", sequences.size(),
             set.batches.size());
  backend.synchronize(*set.uploaded);  // what came in vain may still be on its way from the same host memory
  for (size_t m = 0; m < sequences.size(); ++m) set.batches[m].assign(backend, *uploads_, sequences[m]);
  backend.record(*uploads_, *set.uploaded);
}

std::span<MicroBatch> TokenBatches::take(Backend& backend, Queue& queue,
                                         std::span<const TokenSequence> sequences) {
  Set& set = sets_[turn_];
  if (!holds(std::span(set.batches.data(), set.ahead), sequences)) {
    upload(backend, set, sequences);
  }
  set.ahead = 0;
  backend.wait(queue, *set.uploaded);
  turn_ = 1 - turn_;
  return {set.batches.data(), sequences.size()};
}

void TokenBatches::upload_ahead(Backend& backend, std::span<const TokenSequence> sequences) {
  Set& set = sets_[turn_];
  set.ahead = 0;
  upload(backend, set, sequences);
  set.ahead = sequences.size();
}

size_t TokenBatches::device_bytes() const {
  size_t bytes = 0;
  for (const Set& set : sets_) {
    for (const MicroBatch& batch : set.batches) bytes += batch.device_bytes();
  }
  return bytes;
}

}  // namespace seer
