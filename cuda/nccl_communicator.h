// Ranks on GPUs: one process each, NCCL between them.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "src/ops/communicator.h"

namespace seer {

struct NcclOptions {
  int rank = 0;
  int size = 1;
  int sms = 0;  ///< As of Communicator::split()
  /// A collective that has run so long has lost a peer.
  std::chrono::milliseconds timeout{300'000};
  /// Called once, from a thread that watches, when NCCL reports an error or a collective exceeds the limit. The host
  /// may be waiting for the device at that time and for ever.
  std::function<void(const std::string& what)> on_failure;
};

/// The group of all ranks, for queues of this process's CUDA backend, whose device is the current one. Waits for the
/// other ranks. Throws Error with NCCL's words.
std::unique_ptr<Communicator> make_nccl_communicator(const NcclOptions& options,
                                                     const RankExchange& exchange);

}  // namespace seer
