#include "trainer/plan_backend.h"

#include <sys/mman.h>

#include "src/core/error.h"

namespace seer {
namespace {

class NoQueue final : public Queue {};
class NoEvent final : public Event {};

double bytes_of(const ConstTensor& x) {
  return x.empty() ? 0.0 : static_cast<double>(x.numel()) * static_cast<double>(size_of(x.dtype()));
}

double matrix_elements(const ScoreLayout& layout, int64_t heads) {
  return static_cast<double>(layout.elements) * static_cast<double>(heads);
}

}  // namespace

double attention_flops(const AttentionArgs& args) {
  double pairs = 0;  // (query, key) pairs of one head
  for (const Segment& s : args.layout->segments.host) {
    const auto rows = static_cast<double>(s.queries.rows);
    pairs += rows * static_cast<double>(s.queries.position) + rows * (rows + 1) / 2;
  }
  const double products = args.output.empty() ? 1.0 : 2.0;
  return 2.0 * products * pairs * static_cast<double>(args.q.dim(2) * args.head_count);
}

void PlanBackend::count(const char* kind, double flops, double bytes) {
  OpWork& work = work_[kind];
  ++work.calls;
  work.flops += flops;
  work.bytes += bytes;
}

Buffer PlanBackend::allocate(size_t bytes, Memory memory) {
  (memory == Memory::kDevice ? device_bytes_ : pinned_bytes_) += bytes;
  const size_t size = std::max<size_t>(bytes, 1);
  // Address space alone: pages become memory only if they are written.
  void* data =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) fail("cannot plan {} bytes: more than the address space", bytes);
  return {data, size, [](void* memory_begin, size_t length) { ::munmap(memory_begin, length); }};
}

std::unique_ptr<Queue> PlanBackend::make_queue(const std::string&) {
  return std::make_unique<NoQueue>();
}
std::unique_ptr<Event> PlanBackend::make_event() {
  return std::make_unique<NoEvent>();
}

void PlanBackend::copy(Queue&, ConstTensor from, Tensor) {
  count("copy", 0, 2 * bytes_of(from));
}
void PlanBackend::fill_zero(Queue&, Tensor x) {
  count("fill_zero", 0, bytes_of(x));
}
void PlanBackend::embed(Queue&, ConstTensor, ConstTensor, Tensor out) {
  count("embed", 0, 2 * bytes_of(out));
}
void PlanBackend::rms_norm(Queue&, ConstTensor x, ConstTensor, double, Tensor) {
  count("rms_norm", 4.0 * static_cast<double>(x.numel()), 2 * bytes_of(x));
}

void PlanBackend::linear(Queue&, ConstTensor x, const StackedLinear& w, LinearOutput, Tensor out, Tensor) {
  double weights = 0;
  for (int i = 0; i < w.parts; ++i) weights += bytes_of(w.weight[i]);
  count("linear",
        2.0 * static_cast<double>(x.rows() * w.in_features()) * static_cast<double>(w.out_features()),
        bytes_of(x) + bytes_of(out) + weights);
}

void PlanBackend::swiglu(Queue&, ConstTensor gate_up, Tensor out) {
  count("swiglu", 0, bytes_of(gate_up) + bytes_of(out));
}
void PlanBackend::rope(Queue&, ConstTensor x, const RopeTable&, const Table<RowSpan>&, RopeDirection,
                       Tensor) {
  count("rope", 0, 2 * bytes_of(x));
}

void PlanBackend::attention(Queue&, const AttentionArgs& args) {
  count("attention", attention_flops(args),
        bytes_of(args.q) + bytes_of(args.k) + bytes_of(args.v) + bytes_of(args.output) +
            bytes_of(args.block_log_max));
}

void PlanBackend::normalise_target(Queue&, ConstTensor block_log_max, const ScoreLayout&,
                                   const ScoreLayout& coarse, int64_t heads, Tensor) {
  count("normalise_target", 0, bytes_of(block_log_max) + 4.0 * matrix_elements(coarse, heads));
}
void PlanBackend::pool_blocks(Queue&, ConstTensor x, const Table<RowSpan>&, int64_t, int64_t, PoolSet,
                              Tensor out) {
  count("pool_blocks", 0, bytes_of(x) + bytes_of(out));
}
void PlanBackend::group_mean(Queue&, ConstTensor x, Tensor out) {
  count("group_mean", 0, bytes_of(x) + bytes_of(out));
}

void PlanBackend::head_linear(Queue&, ConstTensor x, ConstTensor w, Tensor out) {
  count("head_linear", 2.0 * static_cast<double>(x.rows()) * static_cast<double>(w.numel()),
        bytes_of(x) + bytes_of(w) + bytes_of(out));
}
void PlanBackend::head_linear_backward(Queue&, ConstTensor x, ConstTensor out_gradient, Tensor w_gradient) {
  count("head_linear_backward", 2.0 * static_cast<double>(x.rows()) * static_cast<double>(w_gradient.numel()),
        bytes_of(x) + bytes_of(out_gradient) + 2 * bytes_of(w_gradient));
}
void PlanBackend::rms_norm_backward(Queue&, ConstTensor x, ConstTensor, double, ConstTensor, Tensor, Tensor) {
  count("rms_norm_backward", 0, 3 * bytes_of(x));
}

void PlanBackend::gate_scores(Queue&, const ScoreArgs& args, Tensor scores) {
  count(
      "gate_scores",
      matrix_elements(*args.layout, args.head_count) * static_cast<double>(args.queries.dim(2) * args.pieces),
      bytes_of(scores));
}
void PlanBackend::gate_scores_backward(Queue&, const ScoreArgs& args, ConstTensor score_gradient,
                                       const ScoreGradients& gradients) {
  const double products = gradients.query.empty() ? 1.0 : 2.0;
  count("gate_scores_backward",
        2.0 * products * matrix_elements(*args.layout, args.head_count) *
            static_cast<double>(args.queries.dim(2) * args.pieces),
        products * (bytes_of(score_gradient) + bytes_of(args.best_piece)) +
            (gradients.distance.empty() ? 0.0 : bytes_of(score_gradient)));
}
void PlanBackend::kl_loss(Queue&, const KlArgs& args) {
  count("kl_loss", 0, 3 * bytes_of(args.scores));
}
void PlanBackend::split_signs(Queue&, ConstTensor x, Tensor out) {
  count("split_signs", 0, bytes_of(x) + bytes_of(out));
}
void PlanBackend::position_scores(Queue&, PositionScores, uint64_t, const ScoreLayout&, int64_t, int64_t,
                                  Tensor scores) {
  count("position_scores", 0, bytes_of(scores));
}
void PlanBackend::antidiagonal_scores(Queue&, const AntidiagonalArgs& args) {
  const auto block = static_cast<double>(args.blocks->block_size);
  count("antidiagonal_scores",
        matrix_elements(*args.blocks, args.head_count) * block * block * static_cast<double>(args.q.dim(2)) /
            static_cast<double>(args.stride),
        bytes_of(args.q) + bytes_of(args.k) + bytes_of(args.scores));
}
void PlanBackend::select_blocks(Queue&, const SelectArgs& args) {
  count("select_blocks", 0, 2 * bytes_of(args.scores));
}
void PlanBackend::kept_recall(Queue&, const KeptRecallArgs& args) {
  count("kept_recall", 0, bytes_of(args.target));
}
void PlanBackend::sparse_attention(Queue&, const SparseAttentionArgs& args) {
  // What is kept is known on the device alone: bytes are those of dense attention, arithmetic is not counted.
  count("sparse_attention", 0,
        bytes_of(args.q) + bytes_of(args.k) + bytes_of(args.v) + bytes_of(args.output));
}
void PlanBackend::token_nll(Queue&, ConstTensor logits, ConstTensor, Tensor) {
  count("token_nll", 0, bytes_of(logits));
}
void PlanBackend::add_squared_norm(Queue&, ConstTensor x, Tensor, Tensor) {
  count("add_squared_norm", 0, bytes_of(x));
}
void PlanBackend::adamw(Queue&, const AdamWArgs& args) {
  count("adamw", 0, 7 * bytes_of(args.weights));
}
void PlanBackend::sum_parts(Queue&, ConstTensor parts, Tensor out) {
  count("sum_parts", 0, bytes_of(parts) + bytes_of(out));
}

void PlanBackend::flag_not_finite(Queue&, ConstTensor x, Tensor) {
  count("flag_not_finite", 0, bytes_of(x));
}

}  // namespace seer
