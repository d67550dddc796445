// Backends that stand in front of another one: they answer and act as it does, but for what a derived class overrides.
#pragma once

#include "src/ops/backend.h"

namespace seer {

/// Answers every question about the device as `asked` does, which must outlive it. What is done is the derived class's.
class ForwardingQueries : public Backend {
 public:
  explicit ForwardingQueries(const Backend& asked) : asked_(asked) {}

  std::string name() const override { return asked_.name(); }
  DType activation_dtype() const override { return asked_.activation_dtype(); }
  DType weight_dtype(DType stored) const override { return asked_.weight_dtype(stored); }
  size_t memory_bytes() const override { return asked_.memory_bytes(); }
  size_t available_bytes() const override { return asked_.available_bytes(); }
  int64_t full_speed_rows() const override { return asked_.full_speed_rows(); }
  bool reads_host_memory() const override { return asked_.reads_host_memory(); }
  size_t linear_workspace(const StackedLinear& w) const override { return asked_.linear_workspace(w); }
  size_t attention_workspace(const AttentionArgs& args) const override {
    return asked_.attention_workspace(args);
  }
  size_t kl_workspace(const KlArgs& args) const override { return asked_.kl_workspace(args); }
  size_t norm_workspace(int64_t elements) const override { return asked_.norm_workspace(elements); }
  size_t antidiagonal_workspace(const AntidiagonalArgs& args) const override {
    return asked_.antidiagonal_workspace(args);
  }
  size_t select_workspace(const SelectArgs& args) const override { return asked_.select_workspace(args); }
  size_t kept_recall_workspace(const KeptRecallArgs& args) const override {
    return asked_.kept_recall_workspace(args);
  }
  size_t sparse_attention_workspace(const SparseAttentionArgs& args) const override {
    return asked_.sparse_attention_workspace(args);
  }

 private:
  const Backend& asked_;
};

/// Does everything as `real` does, which must outlive it.
class ForwardingBackend : public ForwardingQueries {
 public:
  explicit ForwardingBackend(Backend& real) : ForwardingQueries(real), real_(real) {}

  Buffer allocate(size_t bytes, Memory memory) override { return real_.allocate(bytes, memory); }
  std::unique_ptr<Queue> make_queue(const std::string& name) override { return real_.make_queue(name); }
  std::unique_ptr<Event> make_event() override { return real_.make_event(); }
  void record(Queue& queue, Event& event) override { real_.record(queue, event); }
  void wait(Queue& queue, Event& event) override { real_.wait(queue, event); }
  void synchronize(Queue& queue) override { real_.synchronize(queue); }
  void synchronize(Event& event) override { real_.synchronize(event); }

  void copy(Queue& queue, ConstTensor from, Tensor to) override { real_.copy(queue, from, to); }
  void fill_zero(Queue& queue, Tensor x) override { real_.fill_zero(queue, x); }
  void embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) override {
    real_.embed(queue, ids, table, out);
  }
  void rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) override {
    real_.rms_norm(queue, x, weight, eps, out);
  }
  void linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
              Tensor workspace) override {
    real_.linear(queue, x, w, mode, out, workspace);
  }
  void swiglu(Queue& queue, ConstTensor gate_up, Tensor out) override { real_.swiglu(queue, gate_up, out); }
  void rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
            RopeDirection direction, Tensor out) override {
    real_.rope(queue, x, table, rows, direction, out);
  }
  void attention(Queue& queue, const AttentionArgs& args) override { real_.attention(queue, args); }
  void normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                        const ScoreLayout& coarse, int64_t heads, Tensor target) override {
    real_.normalise_target(queue, block_log_max, fine, coarse, heads, target);
  }
  void pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                   int64_t pieces, PoolSet pools, Tensor out) override {
    real_.pool_blocks(queue, x, rows, block_size, pieces, pools, out);
  }
  void group_mean(Queue& queue, ConstTensor x, Tensor out) override { real_.group_mean(queue, x, out); }
  void head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) override {
    real_.head_linear(queue, x, w, out);
  }
  void head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                            Tensor w_gradient) override {
    real_.head_linear_backward(queue, x, out_gradient, w_gradient);
  }
  void rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                         ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) override {
    real_.rms_norm_backward(queue, x, weight, eps, out_gradient, x_gradient, w_gradient);
  }
  void gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) override {
    real_.gate_scores(queue, args, scores);
  }
  void gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                            const ScoreGradients& gradients) override {
    real_.gate_scores_backward(queue, args, score_gradient, gradients);
  }
  void kl_loss(Queue& queue, const KlArgs& args) override { real_.kl_loss(queue, args); }
  void split_signs(Queue& queue, ConstTensor x, Tensor out) override { real_.split_signs(queue, x, out); }
  void position_scores(Queue& queue, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                       int64_t head_begin, int64_t head_count, Tensor scores) override {
    real_.position_scores(queue, kind, seed, layout, head_begin, head_count, scores);
  }
  void antidiagonal_scores(Queue& queue, const AntidiagonalArgs& args) override {
    real_.antidiagonal_scores(queue, args);
  }
  void select_blocks(Queue& queue, const SelectArgs& args) override { real_.select_blocks(queue, args); }
  void kept_recall(Queue& queue, const KeptRecallArgs& args) override { real_.kept_recall(queue, args); }
  void sparse_attention(Queue& queue, const SparseAttentionArgs& args) override {
    real_.sparse_attention(queue, args);
  }
  void token_nll(Queue& queue, ConstTensor logits, ConstTensor targets, Tensor nll) override {
    real_.token_nll(queue, logits, targets, nll);
  }
  void add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) override {
    real_.add_squared_norm(queue, x, slot, workspace);
  }
  void adamw(Queue& queue, const AdamWArgs& args) override { real_.adamw(queue, args); }
  void sum_parts(Queue& queue, ConstTensor parts, Tensor out) override { real_.sum_parts(queue, parts, out); }
  void flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) override {
    real_.flag_not_finite(queue, x, slot);
  }

 protected:
  Backend& real() { return real_; }

 private:
  Backend& real_;
};

}  // namespace seer
