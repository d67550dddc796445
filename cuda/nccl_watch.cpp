#include "cuda/nccl_watch.h"

#include <algorithm>

namespace seer::cuda {

NcclWatch::NcclWatch(std::chrono::milliseconds timeout, std::function<void(const std::string&)> on_failure)
    : timeout_(timeout), on_failure_(std::move(on_failure)) {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  thread_ = std::thread([this, device] { watch(device); });
}

NcclWatch::~NcclWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void NcclWatch::add(ncclComm_t comm) {
  const std::lock_guard lock(mutex_);
  comms_.push_back(comm);
}

void NcclWatch::forget(ncclComm_t comm) {
  const std::lock_guard lock(mutex_);
  std::erase(comms_, comm);
}

void NcclWatch::begin_host_call(const char* what) {
  const std::lock_guard lock(mutex_);
  host_call_ = what;
  host_call_since_ = Clock::now();
}

NcclWatch::Operation NcclWatch::take(const char* what) {
  Operation operation;
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      operation = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  if (operation.begun == nullptr) {
    operation.begun = std::make_unique<CudaEvent>();
    operation.ended = std::make_unique<CudaEvent>();
  }
  operation.what = what;
  operation.running_since = {};
  return operation;
}

void NcclWatch::put(Operation operation) {
  const std::lock_guard lock(mutex_);
  running_.push_back(std::move(operation));
}

std::string NcclWatch::find_failure() {
  if (host_call_ != nullptr && Clock::now() - host_call_since_ > timeout_) {
    return fmt::format(
        "{} over NCCL has not ended after {} s: a peer is lost or cannot be reached (NCCL_SOCKET_IFNAME "
        "chooses the "
        "network interface, NCCL_DEBUG=INFO says more)",
        host_call_, std::chrono::duration_cast<std::chrono::seconds>(timeout_).count());
  }
  for (ncclComm_t comm : comms_) {
    ncclResult_t result = ncclSuccess;
    if (ncclCommGetAsyncError(comm, &result) == ncclSuccess && result != ncclSuccess &&
        result != ncclInProgress) {
      return fmt::format("NCCL: {}: {}", ncclGetErrorString(result), ncclGetLastError(comm));
    }
  }
  while (!running_.empty()) {
    Operation& oldest = running_.front();
    if (cudaEventQuery(oldest.ended->get()) == cudaErrorNotReady) {
      if (cudaEventQuery(oldest.begun->get()) == cudaErrorNotReady) return {};
      const auto now = Clock::now();
      if (oldest.running_since == Clock::time_point{}) oldest.running_since = now;
      if (now - oldest.running_since < timeout_) return {};
      return fmt::format("{} over NCCL has not ended after {} s: a peer or the connection to it is lost",
                         oldest.what, std::chrono::duration_cast<std::chrono::seconds>(timeout_).count());
    }
    // Ended, or the device failed: then whoever waits for the queue says how.
    spare_.push_back(std::move(oldest));
    running_.pop_front();
  }
  return {};
}

void NcclWatch::watch(int device) {
  constexpr std::chrono::milliseconds kPeriod{100};
  cudaSetDevice(device);
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kPeriod, [this] { return stop_; })) {
    const std::string failure = find_failure();
    if (failure.empty()) continue;
    lock.unlock();
    if (on_failure_) on_failure_(failure);
    return;
  }
}

}  // namespace seer::cuda
