// Ranks on CPUs: processes (or, in tests, threads) that talk over TCP through Gloo.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "src/ops/communicator.h"

namespace seer {

struct GlooOptions {
  int rank = 0;
  int size = 1;
  /// Address of this host that the other ranks can reach.
  std::string host = "127.0.0.1";
  /// A collective that takes longer is a lost connection.
  std::chrono::milliseconds timeout{300'000};
};

/// The group of all ranks, for queues of the CPU backend. Waits for the other ranks. A lost connection fails the queue
/// with an Error. Throws Error if the ranks cannot reach each other.
std::unique_ptr<Communicator> make_gloo_communicator(const GlooOptions& options, RankExchange exchange);

}  // namespace seer
