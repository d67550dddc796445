// The token sequences of this step and of the next on the device: while one set is computed on, the other arrives.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "trainer/micro_batch.h"

namespace seer {

class TokenBatches {
 public:
  /// Two sets of `count` micro-batches.
  TokenBatches(Backend& backend, int64_t count, const BatchShape& shape);

  /// The micro-batches that hold `sequences`, for operations that `queue` is given from now on: those of upload_ahead()
  /// if they are the same, else uploaded now. Queues must have finished with what the take before the last returned.
  std::span<MicroBatch> take(Backend& backend, Queue& queue, std::span<const TokenSequence> sequences);

  /// Uploads what the next take() is expected to ask for, beside the compute on what the last one returned.
  void upload_ahead(Backend& backend, std::span<const TokenSequence> sequences);

  size_t device_bytes() const;

 private:
  struct Set {
    std::vector<MicroBatch> batches;
    std::unique_ptr<Event> uploaded;
    size_t ahead = 0;  ///< Sequences that upload_ahead() has put here
  };

  void upload(Backend& backend, Set& set, std::span<const TokenSequence> sequences);

  std::array<Set, 2> sets_;
  size_t turn_ = 0;                 // sets_[turn_] is the next to be taken
  std::unique_ptr<Queue> uploads_;  // last: destroyed first, when what it still runs has finished
};

}  // namespace seer
