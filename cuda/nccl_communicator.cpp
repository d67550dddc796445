#include "cuda/nccl_communicator.h"

#include <atomic>
#include <cstring>

#include <nccl.h>

#include "cuda/check.h"
#include "cuda/cuda_queue.h"
#include "cuda/nccl_watch.h"

namespace seer {
namespace {

using cuda::CudaQueue;
using cuda::NcclWatch;

void check_nccl(ncclResult_t result, const char* call, ncclComm_t comm = nullptr) {
  if (result == ncclSuccess) return;
  const char* last = ncclGetLastError(comm);
  fail("{}: {}{}{} (NCCL_DEBUG=WARN says more)", call, ncclGetErrorString(result),
       last[0] != '\0' ? ": " : "", last);
}

/// One thread block of NCCL's fills a multiprocessor.
ncclConfig_t config_for(int sms) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  if (sms > 0) config.maxCTAs = sms;
  return config;
}

class NcclCommunicator final : public Communicator {
 public:
  /// Takes over `comm`.
  NcclCommunicator(ncclComm_t comm, std::shared_ptr<NcclWatch> watch)
      : comm_(comm), watch_(std::move(watch)) {
    watch_->add(comm_);
    check_nccl(ncclCommUserRank(comm_, &rank_), "ncclCommUserRank", comm_);
    check_nccl(ncclCommCount(comm_, &size_), "ncclCommCount", comm_);
  }
  ~NcclCommunicator() override {
    watch_->forget(comm_);
    if (!aborted_) ncclCommDestroy(comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string name() const override {
    int version = 0;
    check_nccl(ncclGetVersion(&version), "ncclGetVersion");
    return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  }

  void all_gather(Queue& queue, ConstTensor mine, Tensor all) override {
    check_all_gather(*this, mine, all);
    const cudaStream_t stream = stream_of(queue);
    watch_->around("all_gather", stream, [&] {
      check_nccl(ncclAllGather(mine.raw(), all.raw(), bytes_of(mine), ncclUint8, comm_, stream),
                 "ncclAllGather", comm_);
    });
  }

  void all_to_all(Queue& queue, ConstTensor from, Tensor to) override {
    check_all_to_all(*this, from, to);
    const cudaStream_t stream = stream_of(queue);
    const size_t bytes = bytes_of(from) / size_;
    watch_->around("all_to_all", stream, [&] {
      check_nccl(ncclGroupStart(), "ncclGroupStart");
      for (int peer = 0; peer < size_; ++peer) {
        check_nccl(ncclSend(static_cast<const char*>(from.raw()) + peer * bytes, bytes, ncclUint8, peer,
                            comm_, stream),
                   "ncclSend", comm_);
        check_nccl(
            ncclRecv(static_cast<char*>(to.raw()) + peer * bytes, bytes, ncclUint8, peer, comm_, stream),
            "ncclRecv", comm_);
      }
      check_nccl(ncclGroupEnd(), "ncclGroupEnd", comm_);
    });
  }

  void broadcast(Queue& queue, Tensor x, int root) override {
    SEER_CHECK(x.contiguous(), "broadcast of a strided tensor");
    const cudaStream_t stream = stream_of(queue);
    watch_->around("broadcast", stream, [&] {
      check_nccl(ncclBroadcast(x.raw(), x.raw(), bytes_of(x), ncclUint8, root, comm_, stream),
                 "ncclBroadcast", comm_);
    });
  }

  void abort() noexcept override {
    if (aborted_.exchange(true)) return;
    watch_->forget(comm_);
    ncclCommAbort(comm_);
  }

  std::unique_ptr<Communicator> split(int colour, int key, int sms) override {
    ncclComm_t comm = nullptr;
    ncclConfig_t config = config_for(sms);
    watch_->during("connecting a group of ranks", [&] {
      check_nccl(ncclCommSplit(comm_, colour, key, &comm, &config), "ncclCommSplit", comm_);
    });
    return std::make_unique<NcclCommunicator>(comm, watch_);
  }

 private:
  static cudaStream_t stream_of(Queue& queue) { return static_cast<CudaQueue&>(queue).stream(); }
  static size_t bytes_of(ConstTensor x) { return x.numel() * size_of(x.dtype()); }

  ncclComm_t comm_;
  std::shared_ptr<NcclWatch> watch_;
  std::atomic<bool> aborted_ = false;
  int rank_ = 0;
  int size_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(const NcclOptions& options,
                                                     const RankExchange& exchange) {
  ncclUniqueId id;
  if (options.rank == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
  const std::string mine = options.rank == 0 ? std::string(id.internal, sizeof(id.internal)) : std::string();
  const std::string first = exchange(mine).front();
  SEER_CHECK(first.size() == sizeof(id.internal), "rank 0 sent {} bytes for NCCL's id", first.size());
  std::memcpy(id.internal, first.data(), first.size());
  ncclComm_t comm = nullptr;
  ncclConfig_t config = config_for(options.sms);
  auto watch = std::make_shared<NcclWatch>(options.timeout, options.on_failure);
  watch->during("connecting all ranks", [&] {
    check_nccl(ncclCommInitRankConfig(&comm, options.size, id, options.rank, &config),
               "ncclCommInitRankConfig");
  });
  return std::make_unique<NcclCommunicator>(comm, std::move(watch));
}

}  // namespace seer
