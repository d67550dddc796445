#include "src/cpu/cpu_backend.h"

#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "src/core/thread_pool.h"
#include "src/cpu/cpu_queue.h"
#include "src/cpu/kernels.h"
#include "src/ops/check_args.h"

namespace seer {
namespace {

using cpu::CpuEvent;
using cpu::CpuQueue;

/// Checks arguments at the call, runs the kernel on the queue's thread.
class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : pool_(options.threads > 0 ? options.threads : ThreadPool::hardware_threads()),
        reads_host_memory_(options.reads_host_memory) {}

  std::string name() const override { return fmt::format("cpu ({} threads)", pool_.size()); }
  DType activation_dtype() const override { return DType::kF32; }
  DType weight_dtype(DType stored) const override { return stored; }
  size_t memory_bytes() const override {
    return static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(::sysconf(_SC_PAGE_SIZE));
  }
  /// What the kernel could page out or drop for us is not counted: all of it may be taken.
  size_t available_bytes() const override { return memory_bytes(); }
  int64_t full_speed_rows() const override { return 1024; }
  bool reads_host_memory() const override { return reads_host_memory_; }

  Buffer allocate(size_t bytes, Memory) override {
    constexpr size_t kAlignment = 256;
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* data = std::aligned_alloc(kAlignment, std::max(rounded, kAlignment));
    if (data == nullptr) fail("cannot allocate {} bytes of memory", bytes);
    std::memset(data, 0, rounded);
    return {data, rounded, [](void* memory, size_t) { std::free(memory); }};
  }

  std::unique_ptr<Queue> make_queue(const std::string&) override { return std::make_unique<CpuQueue>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<CpuEvent>(); }

  void record(Queue& queue, Event& event) override {
    auto& e = static_cast<CpuEvent&>(event);
    CpuQueue& q = on(queue);
    const uint64_t number = e.record();
    q.push([&e, &q, number] { e.complete(number, q.failure()); }, /*always=*/true);
  }
  void wait(Queue& queue, Event& event) override {
    auto& e = static_cast<CpuEvent&>(event);
    const uint64_t number = e.last_record();
    on(queue).push([&e, number] { e.wait(number); }, /*always=*/true);
  }
  void synchronize(Queue& queue) override { on(queue).synchronize(); }
  void synchronize(Event& event) override {
    auto& e = static_cast<CpuEvent&>(event);
    e.wait(e.last_record());
  }

  void copy(Queue& queue, ConstTensor from, Tensor to) override {
    SEER_CHECK(from.dtype() == to.dtype() && from.shape() == to.shape(), "{} {} to {} {}",
               name_of(from.dtype()), to_string(from.shape()), name_of(to.dtype()), to_string(to.shape()));
    on(queue).push([=] { cpu::copy(from, to); });
  }
  void fill_zero(Queue& queue, Tensor x) override {
    on(queue).push([=] { cpu::fill_zero(x); });
  }

  void embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) override {
    check::embed(ids, table, out);
    on(queue).push([=, this] { cpu::embed(pool_, ids, table, out); });
  }
  void rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) override {
    check::rms_norm(x, weight, out);
    on(queue).push([=, this] { cpu::rms_norm(pool_, x, weight, eps, out); });
  }
  void linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
              Tensor workspace) override {
    check::linear(x, w, out);
    check::workspace(workspace, linear_workspace(w));
    on(queue).push([=, this] { cpu::linear(pool_, x, w, mode, out, workspace); });
  }
  size_t linear_workspace(const StackedLinear& w) const override { return cpu::linear_workspace(pool_, w); }
  void swiglu(Queue& queue, ConstTensor gate_up, Tensor out) override {
    check::swiglu(gate_up, out);
    on(queue).push([=, this] { cpu::swiglu(pool_, gate_up, out); });
  }
  void rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
            RopeDirection direction, Tensor out) override {
    check::rope(x, table, rows, out);
    on(queue).push([=, this, &rows] { cpu::rope(pool_, x, table, rows, direction, out); });
  }
  void attention(Queue& queue, const AttentionArgs& args) override {
    check::attention(args);
    check::workspace(args.workspace, attention_workspace(args));
    on(queue).push([=, this] { cpu::attention(pool_, args); });
  }
  size_t attention_workspace(const AttentionArgs& args) const override {
    return cpu::attention_workspace(pool_, args);
  }

  void normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                        const ScoreLayout& coarse, int64_t heads, Tensor target) override {
    check::normalise_target(block_log_max, fine, coarse, heads, target);
    on(queue).push([=, this, &fine, &coarse] {
      cpu::normalise_target(pool_, block_log_max, fine, coarse, heads, target);
    });
  }

  void pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                   int64_t pieces, PoolSet pools, Tensor out) override {
    check::pool_blocks(x, rows, block_size, pieces, pools, out);
    on(queue).push([=, this, &rows] { cpu::pool_blocks(pool_, x, rows, block_size, pieces, pools, out); });
  }
  void group_mean(Queue& queue, ConstTensor x, Tensor out) override {
    check::group_mean(x, out);
    on(queue).push([=, this] { cpu::group_mean(pool_, x, out); });
  }
  void head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) override {
    check::head_linear(x, w, out);
    on(queue).push([=, this] { cpu::head_linear(pool_, x, w, out); });
  }
  void head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                            Tensor w_gradient) override {
    check::head_linear(x, w_gradient, out_gradient);
    on(queue).push([=, this] { cpu::head_linear_backward(pool_, x, out_gradient, w_gradient); });
  }
  void rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                         ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) override {
    check::rms_norm(x, weight, x_gradient);
    SEER_CHECK(out_gradient.shape() == x.shape() && w_gradient.numel() == weight.numel(), "gradients {} {}",
               to_string(out_gradient.shape()), to_string(w_gradient.shape()));
    on(queue).push(
        [=, this] { cpu::rms_norm_backward(pool_, x, weight, eps, out_gradient, x_gradient, w_gradient); });
  }
  void gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) override {
    check::gate_scores(args, scores);
    on(queue).push([=, this] { cpu::gate_scores(pool_, args, scores); });
  }
  void gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                            const ScoreGradients& gradients) override {
    check::gate_scores_backward(args, score_gradient, gradients);
    on(queue).push([=, this] { cpu::gate_scores_backward(pool_, args, score_gradient, gradients); });
  }
  void kl_loss(Queue& queue, const KlArgs& args) override {
    check::kl_loss(args);
    check::workspace(args.workspace, kl_workspace(args));
    on(queue).push([=, this] { cpu::kl_loss(pool_, args); });
  }
  size_t kl_workspace(const KlArgs& args) const override { return cpu::kl_workspace(args); }

  void split_signs(Queue& queue, ConstTensor x, Tensor out) override {
    check::split_signs(x, out);
    on(queue).push([=, this] { cpu::split_signs(pool_, x, out); });
  }
  void position_scores(Queue& queue, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                       int64_t head_begin, int64_t head_count, Tensor scores) override {
    check::position_scores(layout, head_begin, head_count, scores);
    on(queue).push([=, this, &layout] {
      cpu::position_scores(pool_, kind, seed, layout, head_begin, head_count, scores);
    });
  }
  void antidiagonal_scores(Queue& queue, const AntidiagonalArgs& args) override {
    check::antidiagonal_scores(args);
    check::workspace(args.workspace, antidiagonal_workspace(args));
    on(queue).push([=, this] { cpu::antidiagonal_scores(pool_, args); });
  }
  size_t antidiagonal_workspace(const AntidiagonalArgs& args) const override {
    return cpu::antidiagonal_workspace(pool_, args);
  }
  void select_blocks(Queue& queue, const SelectArgs& args) override {
    check::select_blocks(args);
    check::workspace(args.workspace, select_workspace(args));
    on(queue).push([=, this] { cpu::select_blocks(pool_, args); });
  }
  size_t select_workspace(const SelectArgs& args) const override {
    return cpu::select_workspace(pool_, args);
  }
  void kept_recall(Queue& queue, const KeptRecallArgs& args) override {
    check::kept_recall(args);
    check::workspace(args.workspace, kept_recall_workspace(args));
    on(queue).push([=, this] { cpu::kept_recall(pool_, args); });
  }
  size_t kept_recall_workspace(const KeptRecallArgs& args) const override {
    return cpu::kept_recall_workspace(args);
  }
  void sparse_attention(Queue& queue, const SparseAttentionArgs& args) override {
    check::sparse_attention(args);
    check::workspace(args.workspace, sparse_attention_workspace(args));
    on(queue).push([=, this] { cpu::sparse_attention(pool_, args); });
  }
  size_t sparse_attention_workspace(const SparseAttentionArgs& args) const override {
    return cpu::sparse_attention_workspace(pool_, args);
  }
  void token_nll(Queue& queue, ConstTensor logits, ConstTensor targets, Tensor nll) override {
    check::token_nll(logits, targets, nll);
    on(queue).push([=, this] { cpu::token_nll(pool_, logits, targets, nll); });
  }

  void add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) override {
    check::workspace(workspace, norm_workspace(x.numel()));
    on(queue).push([=, this] { cpu::add_squared_norm(pool_, x, slot, workspace); });
  }
  size_t norm_workspace(int64_t elements) const override { return cpu::norm_workspace(elements); }
  void adamw(Queue& queue, const AdamWArgs& args) override {
    check::adamw(args);
    on(queue).push([=, this] { cpu::adamw(pool_, args); });
  }
  void sum_parts(Queue& queue, ConstTensor parts, Tensor out) override {
    check::sum_parts(parts, out);
    on(queue).push([=, this] { cpu::sum_parts(pool_, parts, out); });
  }
  void flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) override {
    on(queue).push([=, this] { cpu::flag_not_finite(pool_, x, slot); });
  }

 private:
  static CpuQueue& on(Queue& queue) { return static_cast<CpuQueue&>(queue); }

  ThreadPool pool_;
  bool reads_host_memory_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace seer
