// The ranks of a run and how they share its work.
//
//   rank    = data_rank * context + context_rank      neighbours share a sequence
//   data    : data_size groups take disjoint, contiguous shares of a step's micro-batches
//   context : the ranks of a group own two chunks each of every sequence of their share
//   shard   : groups of neighbours keep one copy of the frozen weights between them
//
// What crosses ranks: gate gradients (world), flags and losses (world), k, v and pooled keys (context), frozen
// weights (shard). All of it is enqueued by one thread on one queue, so that every rank runs it in one order.
#pragma once

#include <memory>

#include "src/ops/communicator.h"

namespace seer {

/// Multiprocessors of a GPU for exchanges that run beside the compute: of gradients, and of frozen weights. The few
/// exchanges of gradients may wait for the end of an attention kernel, whose thread blocks stay to the end; those of every
/// layer's weights may not, so attention leaves theirs free.
constexpr int kReduceSms = 2;
constexpr int kShardSms = 4;

/// Where this process stands.
struct RankPlace {
  int rank = 0;
  int size = 1;
  int context = 1;  ///< Ranks that share a sequence
  int shard = 1;    ///< Ranks that share a copy of the frozen weights

  bool alone() const { return size == 1; }
  int context_rank() const { return rank % context; }
  int data_rank() const { return rank / context; }
  int data_size() const { return size / context; }
  int shard_rank() const { return rank % shard; }
  /// What attention leaves to exchanges.
  int reserved_sms() const { return shard > 1 ? kShardSms : 0; }
};

/// The communicators of a run, null where a group is this process alone, and the queue of all their operations.
struct RankGroups {
  RankPlace place;
  std::unique_ptr<Queue> exchange;
  std::shared_ptr<Communicator> world;
  std::unique_ptr<Communicator> context;
  /// The same ranks in reverse: the second chunks of a sequence lie in that order.
  std::unique_ptr<Communicator> context_reversed;
  std::unique_ptr<Communicator> shard;

  /// Ends what is under way, so that nothing waits for a rank that is lost.
  void abort() const noexcept;

  /// Takes `world` apart and connects all groups; every rank must call it.
  static RankGroups split(Backend& backend, std::shared_ptr<Communicator> world, int context, int shard);
  /// Groups that exchange nothing, for planning the memory of one rank.
  static RankGroups planned(Backend& plan, const RankPlace& place);

 private:
  void warm_up(Backend& backend) const;
};

}  // namespace seer
