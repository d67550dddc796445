// The processes of one training, from the launcher's environment to the last goodbye.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/ranks/rendezvous.h"
#include "trainer/ranks.h"
#include "trainer/run_config.h"

namespace seer {

/// Where rank `rank` of `size` stands as the config shares the work. Throws a usage Error if the config does not fit that
/// number of ranks.
RankPlace place_of(const RunConfig& config, int rank, int size);

/// What CUDA_VISIBLE_DEVICES has to be for a process to see the GPU of that ordinal alone, `visible` being its value now
/// (null: not set). A list of one GPU among several ranks was made by the launcher for this rank: it stays as it is. Throws
/// a usage Error if the list is too short.
std::string visible_gpu(const char* visible, int ordinal);

/// This process among the ranks of a run. Every rank must make the same calls in the same order, but for is_head() and
/// abort().
class RunRanks {
 public:
  /// Finds the other ranks, waiting for them if there are any; a process alone does nothing. Must come before anything
  /// else touches CUDA: it picks the GPU of a rank. Throws Error as rendezvous() does, or for a config that does not fit
  /// the number of ranks.
  explicit RunRanks(const RunConfig& config);
  ~RunRanks();
  RunRanks(const RunRanks&) = delete;
  RunRanks& operator=(const RunRanks&) = delete;

  const RankInfo& info() const { return info_; }
  /// As `config` shares the work.
  const RankPlace& place() const { return place_; }
  bool alone() const { return control_ == nullptr; }
  /// Rank 0 writes, logs and shows progress.
  bool is_head() const { return info_.rank == 0; }

  /// The communicators, once the backend of this rank is there.
  void connect(Backend& backend);
  const RankGroups& groups() const { return groups_; }
  /// Other groups of the same ranks.
  RankGroups split(Backend& backend, int context, int shard) {
    return RankGroups::split(backend, groups_.world, context, shard);
  }

  /// Throws Error naming the ranks and keys in which `facts` differ from rank 0's.
  void compare(const std::map<std::string, std::string>& facts);
  /// Every rank's text, by rank.
  std::vector<std::string> exchange(const std::string& mine) const;
  /// Whether any rank says so.
  bool any(bool mine);
  /// The smallest that any rank has.
  size_t least(size_t mine) const;
  /// Of every element, over all ranks.
  std::vector<int64_t> sum(const std::vector<int64_t>& mine);
  /// That rank's text.
  std::string from(int rank, const std::string& mine);
  /// Tensors of all ranks become rank 0's.
  void broadcast(Backend& backend, Queue& queue, Tensor x);

  /// Waits until all ranks are here.
  void leave();
  /// This rank failed: the others are told why, and nothing of its own waits for them any more.
  void abort(const std::exception& error) noexcept;

 private:
  const RunConfig& config_;
  RankInfo info_;
  RankPlace place_;
  std::unique_ptr<ControlPlane> control_;  // null if alone
  RankGroups groups_;
  bool aborted_ = false;
  std::unique_ptr<Event> ready_;
  std::unique_ptr<Event> arrived_;
};

}  // namespace seer
