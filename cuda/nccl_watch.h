// A thread that notices when collectives stop: a peer that died leaves NCCL's kernels waiting on the device for ever.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <nccl.h>

#include "cuda/check.h"
#include "cuda/cuda_queue.h"
#include "cuda/nccl_communicator.h"

namespace seer::cuda {

/// Collectives run on one queue in order, so the oldest that has not ended is the one that hangs.
class NcclWatch {
 public:
  NcclWatch(std::chrono::milliseconds timeout, std::function<void(const std::string&)> on_failure);
  ~NcclWatch();
  NcclWatch(const NcclWatch&) = delete;
  NcclWatch& operator=(const NcclWatch&) = delete;

  /// Errors of `comm` are noticed until forget().
  void add(ncclComm_t comm);
  void forget(ncclComm_t comm);

  /// Runs `call`, in which the host waits for other ranks.
  template <typename Call>
  void during(const char* what, const Call& call) {
    begin_host_call(what);
    call();
    begin_host_call(nullptr);
  }

  /// Runs `enqueue`, which puts a collective named `what` (a literal) on the stream, between two events.
  template <typename Enqueue>
  void around(const char* what, cudaStream_t stream, const Enqueue& enqueue) {
    Operation operation = take(what);
    check(cudaEventRecord(operation.begun->get(), stream), "cudaEventRecord");
    enqueue();
    check(cudaEventRecord(operation.ended->get(), stream), "cudaEventRecord");
    put(std::move(operation));
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct Operation {
    const char* what = "";
    std::unique_ptr<CudaEvent> begun;
    std::unique_ptr<CudaEvent> ended;
    Clock::time_point running_since{};  ///< When it was first seen running
  };

  void begin_host_call(const char* what);
  Operation take(const char* what);
  void put(Operation operation);
  void watch(int device);
  /// What is wrong, or nothing.
  std::string find_failure();

  const std::chrono::milliseconds timeout_;
  const std::function<void(const std::string&)> on_failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ncclComm_t> comms_;
  std::deque<Operation> running_;
  std::vector<Operation> spare_;
  const char* host_call_ = nullptr;  ///< What the host waits in, or null
  Clock::time_point host_call_since_;
  bool stop_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace seer::cuda
