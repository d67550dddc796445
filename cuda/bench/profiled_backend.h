// A backend that runs every operation on a CUDA backend and, while it records, takes its time on the device.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <cuda_runtime.h>

#include "src/ops/forwarding_backend.h"

namespace seer::cuda {

/// All operations of one kind in a recording; products are told apart by their weight, waits by the queue that is waited
/// for. A wait lasts from the end of the operation before it, so that time in which the host held back counts as well.
struct OpTime {
  std::string kind;          ///< The operation's name in backend.h, or "wait for " and a queue's name
  int64_t in_features = 0;   ///< Of `linear`, else 0
  int64_t out_features = 0;  ///< Of `linear`, else 0
  int64_t calls = 0;
  double ms = 0;
  double flops = 0;  ///< Of `linear`, else 0
};

/// Events are made before a recording, so that a step allocates as little with the profile as without. They cost some
/// microseconds an operation: time whole steps while nothing is recorded.
class ProfiledBackend final : public ForwardingBackend {
 public:
  /// `real` must come from make_cuda_backend() and outlive this.
  explicit ProfiledBackend(Backend& real) : ForwardingBackend(real) {}
  ~ProfiledBackend() override;
  ProfiledBackend(const ProfiledBackend&) = delete;
  ProfiledBackend& operator=(const ProfiledBackend&) = delete;

  /// Records what `queue` is given from now on, other queues (copies beside the compute) pass unrecorded. Throws Error
  /// at the first operation beyond `most_operations`.
  void start_recording(Queue& queue, size_t most_operations);
  /// Waits for what was recorded and adds it up by kind, most time first.
  std::vector<OpTime> finish_recording();

  std::unique_ptr<Queue> make_queue(const std::string& name) override;
  void record(Queue& queue, Event& event) override;
  void wait(Queue& queue, Event& event) override;

  void copy(Queue& queue, ConstTensor from, Tensor to) override;
  void fill_zero(Queue& queue, Tensor x) override;
  void embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) override;
  void rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) override;
  void linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
              Tensor workspace) override;
  void swiglu(Queue& queue, ConstTensor gate_up, Tensor out) override;
  void rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
            RopeDirection direction, Tensor out) override;
  void attention(Queue& queue, const AttentionArgs& args) override;
  void normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                        const ScoreLayout& coarse, int64_t heads, Tensor target) override;
  void pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                   int64_t pieces, PoolSet pools, Tensor out) override;
  void group_mean(Queue& queue, ConstTensor x, Tensor out) override;
  void head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) override;
  void head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                            Tensor w_gradient) override;
  void rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                         ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) override;
  void gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) override;
  void gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                            const ScoreGradients& gradients) override;
  void kl_loss(Queue& queue, const KlArgs& args) override;
  void select_blocks(Queue& queue, const SelectArgs& args) override;
  void kept_recall(Queue& queue, const KeptRecallArgs& args) override;
  void add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) override;
  void adamw(Queue& queue, const AdamWArgs& args) override;
  void sum_parts(Queue& queue, ConstTensor parts, Tensor out) override;
  void flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) override;

 private:
  /// One operation: what it was, and the events around it.
  struct Record {
    const char* kind = nullptr;
    int64_t in_features = 0;
    int64_t out_features = 0;
    double flops = 0;
    const std::string* awaited = nullptr;  ///< Of a wait: the queue's name
    cudaEvent_t start = nullptr;
    cudaEvent_t end = nullptr;
  };

  /// Runs `call`, between two events if `queue` is recorded. Of `what` all but the events is used.
  template <typename Call>
  void timed(Queue& queue, const Record& what, const Call& call);

  std::vector<Record> records_;  ///< Their events are kept from one recording to the next.
  size_t used_ = 0;
  std::atomic<const Queue*> recorded_ = nullptr;  ///< Threads that stream weights ask as well
  std::mutex mutex_;                              ///< Of what follows
  std::map<const Queue*, std::string> names_;
  std::map<const Event*, const std::string*> recorders_;  ///< The names of the queues that events stand for
};

}  // namespace seer::cuda
