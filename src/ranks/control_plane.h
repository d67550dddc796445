// The thin line between all ranks that stays for the whole run: small messages in order, and the news that one is lost.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/ranks/join.h"

namespace seer {

/// EX_PROTOCOL: this rank was well and ended because another one was lost or failed.
constexpr int kExitPeerLost = 76;

/// Says "seer-train: <message>" on standard error and ends the process with kExitPeerLost, waiting for nothing: other
/// threads may be stuck in a collective, or hold the lock of a stream.
[[noreturn]] void end_as_peer_lost(const std::string& message);

/// A star of TCP connections through rank 0. A thread of its own on every rank sends and expects heartbeats, also while
/// the main thread is stuck in a collective. A rank whose connection closes, that is silent for `timeout` (stopped, its
/// host dead), or that calls abort(), is lost: rank 0 tells all others, and on_failure is called on each.
///
/// A process that is alone opens no socket and has no thread. What is exchanged is proved to come from the start's own
/// processes when they join; it is not encrypted.
class ControlPlane {
 public:
  /// Returns once all ranks have come. Throws Error naming those that did not within join_timeout.
  static std::unique_ptr<ControlPlane> join(JoinOptions options);

  /// Without leave(), this rank is lost to the others.
  ~ControlPlane();
  ControlPlane(const ControlPlane&) = delete;
  ControlPlane& operator=(const ControlPlane&) = delete;

  int rank() const { return rank_; }
  /// The numeric address of this host that the other ranks reach, or reached, it at; that of this machine alone where all
  /// ranks are.
  const std::string& local_address() const { return local_address_; }
  int size() const { return static_cast<int>(members_.size()); }
  /// Every process of the start, by rank.
  const std::vector<Member>& members() const { return members_; }

  /// Every rank's bytes, by rank; all ranks call it equally often, in the same order. Waits as long as the others live.
  /// Throws Error if one is lost meanwhile and on_failure returned. At most 1 GiB from all ranks together.
  std::vector<std::string> exchange(std::string_view mine);

  /// Says goodbye and waits until all ranks have; from then on nobody is missed. Throws Error as exchange() does.
  void leave();

  /// This rank failed: tells the others why, waits a moment until they know, and takes no further part. They say "rank 3
  /// (host n2, pid 4711) failed: <why>". Does nothing after leave(), or when another rank is lost already.
  void abort(std::string_view why) noexcept;

 private:
  class Watch;  ///< The thread and what it shares with the callers

  ControlPlane(int rank, std::vector<Member> members, std::string local_address,
               std::unique_ptr<Watch> watch);

  int rank_;
  std::vector<Member> members_;
  std::string local_address_;
  std::unique_ptr<Watch> watch_;  ///< None if alone
};

}  // namespace seer
