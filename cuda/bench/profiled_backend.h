// A backend that runs every operation on a CUDA backend and, while it records, takes its time on the device.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include <cuda_runtime.h>

#include "src/ops/backend.h"

namespace seer::cuda {

/// All operations of one kind in a recording; products are told apart by their weight.
struct OpTime {
  std::string kind;          ///< The operation's name in backend.h
  int64_t in_features = 0;   ///< Of `linear`, else 0
  int64_t out_features = 0;  ///< Of `linear`, else 0
  int64_t calls = 0;
  double ms = 0;
  double flops = 0;  ///< Of `linear`, else 0
};

/// Events are made before a recording, so that a step allocates as little with the profile as without. They cost some
/// microseconds an operation: time whole steps while nothing is recorded.
class ProfiledBackend final : public Backend {
 public:
  /// `real` must come from make_cuda_backend() and outlive this.
  explicit ProfiledBackend(Backend& real) : real_(real) {}
  ~ProfiledBackend() override;
  ProfiledBackend(const ProfiledBackend&) = delete;
  ProfiledBackend& operator=(const ProfiledBackend&) = delete;

  /// Records what `queue` is given from now on, other queues (copies beside the compute) pass unrecorded. Throws Error
  /// at the first operation beyond `most_operations`.
  void start_recording(Queue& queue, size_t most_operations);
  /// Waits for what was recorded and adds it up by kind, most time first.
  std::vector<OpTime> finish_recording();

  std::string name() const override { return real_.name(); }
  DType activation_dtype() const override { return real_.activation_dtype(); }
  DType weight_dtype(DType stored) const override { return real_.weight_dtype(stored); }
  size_t memory_bytes() const override { return real_.memory_bytes(); }
  size_t available_bytes() const override { return real_.available_bytes(); }
  int64_t full_speed_rows() const override { return real_.full_speed_rows(); }
  bool reads_host_memory() const override { return real_.reads_host_memory(); }

  Buffer allocate(size_t bytes, Memory memory) override { return real_.allocate(bytes, memory); }
  std::unique_ptr<Queue> make_queue(const std::string& name) override { return real_.make_queue(name); }
  std::unique_ptr<Event> make_event() override { return real_.make_event(); }
  void record(Queue& queue, Event& event) override { real_.record(queue, event); }
  void wait(Queue& queue, Event& event) override { real_.wait(queue, event); }
  void synchronize(Queue& queue) override { real_.synchronize(queue); }
  void synchronize(Event& event) override { real_.synchronize(event); }

  void copy(Queue& queue, ConstTensor from, Tensor to) override;
  void fill_zero(Queue& queue, Tensor x) override;
  void embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) override;
  void rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) override;
  void linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
              Tensor workspace) override;
  size_t linear_workspace(const StackedLinear& w) const override { return real_.linear_workspace(w); }
  void swiglu(Queue& queue, ConstTensor gate_up, Tensor out) override;
  void rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
            RopeDirection direction, Tensor out) override;
  void attention(Queue& queue, const AttentionArgs& args) override;
  size_t attention_workspace(const AttentionArgs& args) const override {
    return real_.attention_workspace(args);
  }
  void normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                        const ScoreLayout& coarse, int64_t heads, Tensor target) override;
  void pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size, PoolSet pools,
                   Tensor out) override;
  void group_mean(Queue& queue, ConstTensor x, Tensor out) override;
  void head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) override;
  void head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                            Tensor w_gradient) override;
  void rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                         ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) override;
  void gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) override;
  void gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                            Tensor query_gradient, Tensor key_gradient) override;
  void kl_loss(Queue& queue, const KlArgs& args) override;
  size_t kl_workspace(const KlArgs& args) const override { return real_.kl_workspace(args); }
  void topk_recall(Queue& queue, const RecallArgs& args) override;
  size_t recall_workspace(const RecallArgs& args) const override { return real_.recall_workspace(args); }
  void add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) override;
  size_t norm_workspace(int64_t elements) const override { return real_.norm_workspace(elements); }
  void adamw(Queue& queue, const AdamWArgs& args) override;
  void flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) override;

 private:
  /// One operation: what it was, and the events around it.
  struct Record {
    const char* kind = nullptr;
    int64_t in_features = 0;
    int64_t out_features = 0;
    double flops = 0;
    cudaEvent_t start = nullptr;
    cudaEvent_t end = nullptr;
  };

  /// Runs `call`, between two events if `queue` is recorded. Of `what` all but the events is used.
  template <typename Call>
  void timed(Queue& queue, const Record& what, const Call& call);

  Backend& real_;
  std::vector<Record> records_;  ///< Their events are kept from one recording to the next.
  size_t used_ = 0;
  std::atomic<const Queue*> recorded_ = nullptr;  ///< Threads that stream weights ask as well
};

}  // namespace seer::cuda
