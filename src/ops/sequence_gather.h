// Rows of a sequence that is spread over ranks, brought together in the order of their positions.
//
// A sequence is cut into 2c chunks; rank r of c owns chunks r and 2c-1-r, so that every rank has as much of the causal
// triangle as any other:
//
//   c = 2   | rank 0 | rank 1 | rank 1 | rank 0 |
//
// The first halves lie in the order of the ranks, the second halves in reverse: two gathers, nothing is moved twice.
#pragma once

#include <memory>

#include "src/ops/communicator.h"

namespace seer {

class SequenceGather {
 public:
  /// `reversed` holds the ranks of `ranks` in reverse. Collectives go to `exchange`.
  SequenceGather(Backend& backend, Communicator& ranks, Communicator& reversed, Queue& exchange);

  int ranks() const { return ranks_.size(); }

  /// own [rows, ..], this rank's two chunks one behind the other (rows may be strided); whole [ranks * rows, ..],
  /// contiguous. `whole` is undefined until finish().
  void begin(Backend& backend, Queue& queue, ConstTensor own, Tensor whole);
  /// `queue` waits for all gathers that this object has begun.
  void finish(Backend& backend, Queue& queue);

 private:
  Communicator& ranks_;
  Communicator& reversed_;
  Queue& exchange_;
  std::unique_ptr<Event> ready_;
  std::unique_ptr<Event> arrived_;
};

}  // namespace seer
