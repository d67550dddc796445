// A backend that computes nothing and adds everything up: memory asked for, arithmetic and bytes of every
// operation.
#pragma once

#include <map>
#include <string>

#include "src/ops/forwarding_backend.h"

namespace seer {

/// What an operation would cost.
struct OpWork {
  int64_t calls = 0;
  double flops = 0;
  double bytes = 0;  ///< Read and written, each tensor once
};

/// Stands in for `real`, whose workspace sizes and dtypes it reports. Device memory it hands out must not be
/// touched by anybody; host memory may be written, and costs only what is written. Operations are counted,
/// not run.
class PlanBackend : public ForwardingQueries {
 public:
  explicit PlanBackend(const Backend& real) : ForwardingQueries(real) {}

  /// Work by kind of operation: "linear", "attention", and the rest by their own names.
  const std::map<std::string, OpWork>& work() const { return work_; }
  void reset_work() { work_.clear(); }
  size_t device_bytes() const { return device_bytes_; }
  size_t pinned_bytes() const { return pinned_bytes_; }

  Buffer allocate(size_t bytes, Memory memory) override;
  std::unique_ptr<Queue> make_queue(const std::string& name) override;
  std::unique_ptr<Event> make_event() override;
  void record(Queue&, Event&) override {}
  void wait(Queue&, Event&) override {}
  void synchronize(Queue&) override {}
  void synchronize(Event&) override {}
  void copy(Queue&, ConstTensor from, Tensor to) override;
  void fill_zero(Queue&, Tensor x) override;

  void embed(Queue&, ConstTensor ids, ConstTensor table, Tensor out) override;
  void rms_norm(Queue&, ConstTensor x, ConstTensor weight, double eps, Tensor out) override;
  void linear(Queue&, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
              Tensor workspace) override;
  void swiglu(Queue&, ConstTensor gate_up, Tensor out) override;
  void rope(Queue&, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
            RopeDirection direction, Tensor out) override;
  void attention(Queue&, const AttentionArgs& args) override;
  void normalise_target(Queue&, ConstTensor block_log_max, const ScoreLayout& fine, const ScoreLayout& coarse,
                        int64_t heads, Tensor target) override;
  void pool_blocks(Queue&, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size, int64_t pieces,
                   PoolSet pools, Tensor out) override;
  void group_mean(Queue&, ConstTensor x, Tensor out) override;
  void head_linear(Queue&, ConstTensor x, ConstTensor w, Tensor out) override;
  void head_linear_backward(Queue&, ConstTensor x, ConstTensor out_gradient, Tensor w_gradient) override;
  void rms_norm_backward(Queue&, ConstTensor x, ConstTensor weight, double eps, ConstTensor out_gradient,
                         Tensor x_gradient, Tensor w_gradient) override;
  void gate_scores(Queue&, const ScoreArgs& args, Tensor scores) override;
  void gate_scores_backward(Queue&, const ScoreArgs& args, ConstTensor score_gradient,
                            const ScoreGradients& gradients) override;
  void kl_loss(Queue&, const KlArgs& args) override;
  void split_signs(Queue&, ConstTensor x, Tensor out) override;
  void position_scores(Queue&, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                       int64_t head_begin, int64_t head_count, Tensor scores) override;
  void antidiagonal_scores(Queue&, const AntidiagonalArgs& args) override;
  void select_blocks(Queue&, const SelectArgs& args) override;
  void kept_recall(Queue&, const KeptRecallArgs& args) override;
  void sparse_attention(Queue&, const SparseAttentionArgs& args) override;
  void token_nll(Queue&, ConstTensor logits, ConstTensor targets, Tensor nll) override;
  void add_squared_norm(Queue&, ConstTensor x, Tensor slot, Tensor workspace) override;
  void adamw(Queue&, const AdamWArgs& args) override;
  void sum_parts(Queue&, ConstTensor parts, Tensor out) override;
  void flag_not_finite(Queue&, ConstTensor x, Tensor slot) override;

 private:
  void count(const char* kind, double flops, double bytes);

  std::map<std::string, OpWork> work_;
  size_t device_bytes_ = 0;
  size_t pinned_bytes_ = 0;
};

/// Multiply-adds (as 2 FLOPs) of causal attention: q k^T over the visible triangle, and p v where `output` is
/// wanted.
double attention_flops(const AttentionArgs& args);

}  // namespace seer
