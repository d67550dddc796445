// How the ranks of one start find each other: all report to rank 0, which knows them by the start's secret.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/ranks/frame.h"
#include "src/ranks/socket.h"

namespace seer {

/// One process of the start.
struct Member {
  int rank = 0;
  std::string host;
  int pid = 0;
};

/// "rank 3 (host n2, pid 4711)".
std::string describe(const Member& member);

/// "rank 3", "ranks 3, 5-7": `ranks` ascending.
std::string describe_ranks(const std::vector<int>& ranks);

/// "60 s", "0.5 s".
std::string describe(std::chrono::milliseconds time);

/// Where rank 0 may be: the first of these hosts at which somebody knows the secret.
struct HeadAddress {
  std::vector<std::string> hosts;
  int port = 0;
  std::string secret;
};

struct JoinOptions {
  int rank = 0;
  int size = 1;
  /// Time for all ranks to come.
  std::chrono::milliseconds join_timeout{std::chrono::seconds(300)};
  /// Afterwards: a rank that says nothing for so long is lost.
  std::chrono::milliseconds timeout{std::chrono::seconds(60)};
  std::string host = host_name();  ///< Of this process, for the messages of all

  std::string secret;  ///< On rank 0
  Fd listener;         ///< On rank 0, unless it is alone
  /// On the others: asked before every attempt, as rank 0 may come later, or again at another place.
  std::function<std::optional<HeadAddress>()> find_head;
  /// On the others: why find_head found nothing, for the message.
  std::string head_unknown = "rank 0 has not said where it listens";

  /// Called once, from a thread of the control plane, with one sentence about this rank; by default it is printed and the
  /// process ends with kExitPeerLost.
  std::function<void(const std::string&)> on_failure;
};

/// Everybody came. Rank 0 holds a connection to every other rank, in the order of ranks; the others one, to rank 0.
struct Joined {
  std::vector<Member> members;
  std::vector<Connection> connections;
  std::vector<Frame> early;  ///< What rank 0 said right behind the welcome; not on rank 0
};

/// Rank 0's part. Strangers, and processes that do not know the secret, are dropped with a log line; a second process of a
/// rank is refused and told why. Throws Error naming the ranks that did not come in time, or one that left again; those
/// that did come are told the same.
Joined gather_ranks(JoinOptions& options);

/// The part of every other rank: tries until rank 0 answers or the time is over, then waits for all to come. Throws
/// Error saying what stood in the way.
Joined report_to_head(JoinOptions& options);

}  // namespace seer
