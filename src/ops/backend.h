// Every operation of the project on one page: what a device must be able to do.
//
// Letters, as in SEMANTICS.md: S packed tokens (rows), H query heads, G key/value heads, D head_dim,
// C channels, b block size, N blocks of a sequence, R pooled rows of a pack, d gate hidden size, T the target
// (pooled attention). `act` is the backend's activation dtype (CPU fp32, GPU bf16).
//
// Rules that make a backend pluggable:
// - Operations are asynchronous: they run later, in order, on the queue they are given. Tensors, layouts and
//   tables passed in must live and stay unchanged until the queue has passed the operation.
// - No operation returns a value to the host. Losses, norms and flags are added into slots of a small device
//   array (fp64 elements) that the host downloads once a step. Sums over heads are left to the host, so that
//   they do not depend on the ranges of heads an operation was called with.
// - Arguments are checked when the call is made; a failure while running is rethrown by synchronize(Queue&).
// - Every buffer comes from allocate(). Scratch memory is asked for beforehand (`*_workspace`) and passed in;
//   the planner asks with layouts that hold totals and no segments, so the answers depend on totals alone and
//   grow with them.
// - Rows (the first axis) of every activation may be strided: q, k and v are columns of one projection.
//   Elementwise operations (rms_norm, rope, rms_norm_backward) may write where they read.
// - Same inputs, same bits: results depend on neither timing nor the number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "src/core/buffer.h"
#include "src/core/tensor.h"
#include "src/ops/distance_bias.h"
#include "src/ops/layout.h"
#include "src/ops/sparse_args.h"

namespace seer {

/// An in-order stream of operations.
class Queue {
 public:
  virtual ~Queue() = default;
};

/// A point in a queue that other queues and the host can wait for.
class Event {
 public:
  virtual ~Event() = default;
};

enum class Memory {
  kDevice,      ///< Where operations work.
  kHostPinned,  ///< Host memory that copies to and from the device run at full speed with.
};

/// Up to three weight matrices [out_i, in] stacked along their outputs (q, k, v; gate, up; or one), each with
/// an optional bias. A backend may run them as one product if they lie one behind the other.
struct StackedLinear {
  std::array<ConstTensor, 3> weight;
  std::array<ConstTensor, 3> bias;  ///< [out_i], or empty
  int parts = 0;

  int64_t in_features() const { return weight[0].dim(1); }
  int64_t out_features() const;
};

enum class LinearOutput {
  kStore,  ///< out = x W^T + bias
  kAdd,    ///< out += x W^T + bias: a projection back into the residual stream
};

/// cos and sin of every (position, frequency), attention_scaling included (SEMANTICS 1).
struct RopeTable {
  ConstTensor cos;  ///< [positions, D/2] fp32
  ConstTensor sin;  ///< [positions, D/2] fp32
};

enum class RopeDirection {
  kForward,
  kTransposed,  ///< Multiplies by the transposed matrix: the backward of kForward.
};

/// Causal attention of the query segments of `layout` against their sequences' keys (SEMANTICS 1 and 3).
struct AttentionArgs {
  ConstTensor q;  ///< [query rows, H, D] act, after RoPE
  ConstTensor k;  ///< [key rows, G, D] act, after RoPE
  ConstTensor v;  ///< [key rows, G, D] act; may be empty when `output` is
  const BatchLayout* layout = nullptr;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< Query heads [head_begin, head_begin + head_count) are computed.
  float scale = 0.0F;      ///< 1/sqrt(D)

  Tensor output;     ///< [query rows, H, D] act, or empty: not wanted
  Tensor logsumexp;  ///< [head_count, query rows] fp32, natural log, or empty

  /// Natural log of M, the unnormalised block maxima of SEMANTICS 3, -inf above the diagonal; or empty. fp32
  /// matrices [head_count, rows, blocks] of `blocks`, a prefill layout of the finest block size wanted, which
  /// divides 128.
  Tensor block_log_max;
  const ScoreLayout* blocks = nullptr;

  Tensor workspace;  ///< U8, at least attention_workspace() bytes
};

/// Which pools of SEMANTICS 2, in the order they are concatenated.
struct PoolSet {
  bool max = false;
  bool min = false;
  bool avg = false;

  constexpr int count() const {
    return static_cast<int>(max) + static_cast<int>(min) + static_cast<int>(avg);
  }
  bool operator==(const PoolSet&) const = default;
};

/// A range of heads and the score matrices [head_count, rows, blocks] of one layout.
struct ScoreArgs {
  ConstTensor queries;  ///< [query rows, H, d], RoPE applied
  ConstTensor keys;     ///< [key rows * pieces, Hk, d], RoPE applied; query head h sees key head h * Hk / H
  const ScoreLayout* layout = nullptr;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< With Hk < H: whole groups of H/Hk heads.
  double scale = 0.0;      ///< 1/sqrt(d)
  int64_t pieces =
      1;  ///< Keys of a block, one behind the other: the best of them gives its score. At most 255
  ConstTensor distance_bias;  ///< [H, kDistanceTerms] (distance_bias.h), or empty; prefill matrices alone
  /// U8 matrices: which piece gave the score, the first of equals. Written by gate_scores(), read by
  /// gate_scores_backward(), which needs it where pieces > 1; else empty.
  Tensor best_piece;
};

/// What gate_scores_backward() computes, for the heads of its range.
struct ScoreGradients {
  Tensor query;          ///< Like queries, written; empty: not wanted
  Tensor key;            ///< Like keys, added to
  Tensor distance;       ///< Like distance_bias, added to; empty: not wanted
  Tensor distance_sums;  ///< Scratch for it: [head_count, layout.max_blocks + 1] of the scores' dtype
};

enum class LossReduction {
  kElements,  ///< Mean over all elements of the counted rows, masked ones included (the published loss).
  kRows,      ///< Sum over blocks, mean over rows.
};

/// KL(T || softmax(scores)) of SEMANTICS 4 (and 8), forward with backward.
struct KlArgs {
  Tensor scores;       ///< In: scores. Out, where `want_gradient`: gradient_factor * d loss / d scores.
  ConstTensor target;  ///< T, same matrices, fp32 (or the scores' dtype)
  const ScoreLayout* layout = nullptr;
  int64_t heads = 0;       ///< All heads of the layer, the mean is over them.
  int64_t head_count = 0;  ///< Heads in these matrices.
  LossReduction reduction = LossReduction::kElements;
  double loss_factor = 1.0;
  double gradient_factor = 1.0;
  bool want_gradient = true;
  Tensor losses;     ///< [head_count] fp64 += loss_factor * what each head adds to the layer's loss
  Tensor workspace;  ///< U8, at least kl_workspace() bytes
};

/// One AdamW step of SEMANTICS 5 over a flat array.
struct AdamWArgs {
  Tensor weights;  ///< [n] fp32
  ConstTensor gradients;
  Tensor first_moment;
  Tensor second_moment;
  ConstTensor norm_squared;  ///< [1] fp64, of all gradients of this training
  ConstTensor not_finite;  ///< [m] fp64 flags: if any is not 0, or the norm is not finite, nothing is changed
  double max_grad_norm = 0;  ///< Gradients are scaled by min(1, max_grad_norm / (norm + 1e-6)); 0: never
  double learning_rate = 0;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;
  double weight_decay = 0;
  int64_t step = 0;  ///< 0, 1, ..: bias correction uses step + 1
};

class Backend {
 public:
  virtual ~Backend() = default;

  // ---- device, memory, order

  virtual std::string name() const = 0;
  virtual DType activation_dtype() const = 0;
  /// The dtype in which weights stored as `stored` (bf16, fp16 or fp32) must be given to linear() and embed().
  virtual DType weight_dtype(DType stored) const = 0;
  /// Bytes of the memory that allocate(.., Memory::kDevice) draws on, and how many of them it could give now.
  virtual size_t memory_bytes() const = 0;
  virtual size_t available_bytes() const = 0;
  /// So many rows at a time are enough for linear() to run at full speed.
  virtual int64_t full_speed_rows() const = 0;
  /// Whether operations can read host memory (a memory-mapped weight file) where it lies.
  virtual bool reads_host_memory() const = 0;

  /// Memory aligned to 256 bytes, zeroed; throws Error if there is not enough.
  virtual Buffer allocate(size_t bytes, Memory memory) = 0;
  virtual std::unique_ptr<Queue> make_queue(const std::string& name) = 0;
  virtual std::unique_ptr<Event> make_event() = 0;

  /// The event stands for everything enqueued on `queue` so far; it can be recorded again.
  virtual void record(Queue& queue, Event& event) = 0;
  /// What is enqueued on `queue` from now on runs after the event's last record. If an operation before that record has
  /// failed, `queue` fails as well.
  virtual void wait(Queue& queue, Event& event) = 0;
  /// The host waits; a failure of an operation on the queue is rethrown here.
  virtual void synchronize(Queue& queue) = 0;
  virtual void synchronize(Event& event) = 0;

  /// Same dtype and shape; between host and device in any direction.
  virtual void copy(Queue& queue, ConstTensor from, Tensor to) = 0;
  virtual void fill_zero(Queue& queue, Tensor x) = 0;

  // ---- the frozen layer

  /// out[s] = table[ids[s]]: ids [S] I32, table [vocabulary, C] any float, out [S, C] act.
  virtual void embed(Queue& queue, ConstTensor ids, ConstTensor table, Tensor out) = 0;

  /// Over the last axis: x / sqrt(mean(x^2) + eps) * weight, statistics in fp32 (fp64 for F64 tensors).
  /// x, out [rows, C] or [rows, heads, C]; out may be x. weight [C] of x's dtype.
  virtual void rms_norm(Queue& queue, ConstTensor x, ConstTensor weight, double eps, Tensor out) = 0;

  /// x [S, in] act, out [S, sum of outs] act; rows of both may be strided.
  virtual void linear(Queue& queue, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
                      Tensor workspace) = 0;
  virtual size_t linear_workspace(const StackedLinear& w) const = 0;

  /// out[s, i] = silu(gate) * up with gate = gate_up[s, i], up = gate_up[s, I + i]: gate_up [S, 2I], out [S,
  /// I].
  virtual void swiglu(Queue& queue, ConstTensor gate_up, Tensor out) = 0;

  /// Rotates pairs (x_j, x_{j+D/2}) of x [rows, heads, D] into out, same shape; rows lie at the positions of
  /// `rows`.
  virtual void rope(Queue& queue, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
                    RopeDirection direction, Tensor out) = 0;

  virtual void attention(Queue& queue, const AttentionArgs& args) = 0;
  virtual size_t attention_workspace(const AttentionArgs& args) const = 0;

  // ---- the target

  /// From the log maxima of `fine` to T of `coarse`, whose block size is a multiple (SEMANTICS 3): maxima of
  /// neighbours, exp, rows divided by their sum. Both fp32 matrices of `heads` heads; 0 above the diagonal.
  virtual void normalise_target(Queue& queue, ConstTensor block_log_max, const ScoreLayout& fine,
                                const ScoreLayout& coarse, int64_t heads, Tensor target) = 0;

  // ---- the gate (fp32; the CPU computes F64 tensors as well, for gradient checks)

  /// Pools q_pre or k_pre over the blocks of `rows` (the batch's rows or key_rows; each span begins a new block),
  /// SEMANTICS 2, or over each of `pieces` equal pieces of every block: x [S, heads, D],
  /// out [pooled rows * pieces, heads, pools * D]. A piece behind the end of a short last block holds what the last one there is holds.
  virtual void pool_blocks(Queue& queue, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                           int64_t pieces, PoolSet pools, Tensor out) = 0;

  /// Mean over the H/G heads of each group (SEMANTICS 8, Qavg): x [R, H, D], out [R, G, D].
  virtual void group_mean(Queue& queue, ConstTensor x, Tensor out) = 0;

  /// x may be act where w and out are fp32 (a decode gate reads q as it is).
  /// One matrix per head: out[r, h] = x[r, h * Hx / Hw] @ w[h]: x [R, Hx, C], w [Hw, C, d], out [R, Hw, d].
  virtual void head_linear(Queue& queue, ConstTensor x, ConstTensor w, Tensor out) = 0;
  /// w_gradient[h] += sum over r of x[r, h * Hx / Hw]^T out_gradient[r, h].
  virtual void head_linear_backward(Queue& queue, ConstTensor x, ConstTensor out_gradient,
                                    Tensor w_gradient) = 0;

  /// x_gradient = the input's gradient (may be out_gradient); w_gradient += the weight's.
  virtual void rms_norm_backward(Queue& queue, ConstTensor x, ConstTensor weight, double eps,
                                 ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient) = 0;

  /// scores[h, i, j] = the largest over a block's pieces of scale * queries[i, h] . keys[j, h'], plus the distance bias,
  /// where row i sees block j; what other elements hold afterwards is undefined.
  virtual void gate_scores(Queue& queue, const ScoreArgs& args, Tensor scores) = 0;
  /// score_gradient must be 0 where a row does not see a block, as kl_loss leaves it.
  virtual void gate_scores_backward(Queue& queue, const ScoreArgs& args, ConstTensor score_gradient,
                                    const ScoreGradients& gradients) = 0;

  virtual void kl_loss(Queue& queue, const KlArgs& args) = 0;
  virtual size_t kl_workspace(const KlArgs& args) const = 0;

  // ---- sparse attention: scores of other methods than the gate, selection, attention, evaluation

  /// out[.., 0:D] = max(x, 0), out[.., D:2D] = min(x, 0): x [R, heads, D] fp32, out [R, heads, 2D]. With the keys' max and
  /// min pools concatenated, the scores q+ . kmax + q- . kmin bound every q . k of a block from above (Quest).
  virtual void split_signs(Queue& queue, ConstTensor x, Tensor out) = 0;
  virtual void position_scores(Queue& queue, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                               int64_t head_begin, int64_t head_count, Tensor scores) = 0;
  virtual void antidiagonal_scores(Queue& queue, const AntidiagonalArgs& args) = 0;
  virtual size_t antidiagonal_workspace(const AntidiagonalArgs& args) const = 0;

  virtual void select_blocks(Queue& queue, const SelectArgs& args) = 0;
  virtual size_t select_workspace(const SelectArgs& args) const = 0;
  virtual void kept_recall(Queue& queue, const KeptRecallArgs& args) = 0;
  virtual size_t kept_recall_workspace(const KeptRecallArgs& args) const = 0;

  virtual void sparse_attention(Queue& queue, const SparseAttentionArgs& args) = 0;
  virtual size_t sparse_attention_workspace(const SparseAttentionArgs& args) const = 0;

  /// nll[s] = logsumexp(logits[s]) - logits[s, targets[s]] in nats, 0 where targets[s] < 0: logits [S, vocabulary] act,
  /// targets [S] I32, nll [S] fp32.
  virtual void token_nll(Queue& queue, ConstTensor logits, ConstTensor targets, Tensor nll) = 0;

  // ---- the optimiser and the watch

  /// out = the sum of the rows of parts [P, n] fp32, in the order of src/core/tree_order.h. out [n] may be a row of
  /// `parts`.
  virtual void sum_parts(Queue& queue, ConstTensor parts, Tensor out) = 0;

  /// slot [1] fp64 += sum of squares of x (fp32, any shape). `workspace`: norm_workspace() bytes.
  virtual void add_squared_norm(Queue& queue, ConstTensor x, Tensor slot, Tensor workspace) = 0;
  virtual size_t norm_workspace(int64_t elements) const = 0;

  virtual void adamw(Queue& queue, const AdamWArgs& args) = 0;

  /// slot [1] fp64 = 1 if any element of x is NaN or infinite; else it is left as it is.
  virtual void flag_not_finite(Queue& queue, ConstTensor x, Tensor slot) = 0;
};

inline int64_t StackedLinear::out_features() const {
  int64_t total = 0;
  for (int i = 0; i < parts; ++i) total += weight[i].dim(0);
  return total;
}

}  // namespace seer
