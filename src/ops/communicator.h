// Collectives between the ranks of a group, as operations on queues.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/ops/backend.h"

namespace seer {

/// A fixed group of ranks. Its operations are asynchronous: they run in order on the queue they are given, whose
/// backend must be the communicator's. Every rank of the group must call the same ones in the same order, with tensors
/// of the same size; where a process has several communicators, their operations go to one queue, so that all ranks
/// run them in one order. They move bytes and add nothing up: sums are SumOverRanks's (trainer), in an order of its own.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// For logs: "NCCL 2.28.3".
  virtual std::string name() const = 0;

  /// Row r of all [size, ..] = what rank r passes as `mine`, which may be row rank() of `all`. Both contiguous.
  virtual void all_gather(Queue& queue, ConstTensor mine, Tensor all) = 0;
  /// Row r of to [size, ..] = row rank() of what rank r passes as `from`. Both contiguous, not the same memory.
  virtual void all_to_all(Queue& queue, ConstTensor from, Tensor to) = 0;
  /// x [..] of every rank becomes rank `root`'s. Contiguous.
  virtual void broadcast(Queue& queue, Tensor x, int root) = 0;

  /// Ends what is under way and may wait for a rank that is lost. The communicator is of no use afterwards. Callable
  /// from any thread, more than once.
  virtual void abort() noexcept = 0;

  /// Groups of the ranks that pass the same `colour`, ordered by `key`. All ranks must call it; waits for them. On a GPU,
  /// its operations occupy at most `sms` multiprocessors; 0: as many as make them fastest.
  virtual std::unique_ptr<Communicator> split(int colour, int key, int sms) = 0;
};

/// What every rank of a job says, by rank: how communicators find their peers. All ranks must call it, in the same
/// order.
using RankExchange = std::function<std::vector<std::string>(std::string_view mine)>;

/// Checks every communicator makes at the call.
void check_all_gather(const Communicator& group, ConstTensor mine, ConstTensor all);
void check_all_to_all(const Communicator& group, ConstTensor from, ConstTensor to);

}  // namespace seer
