#include "src/ops/check_args.h"

#include "src/core/ceil_div.h"
#include "src/core/error.h"

namespace seer::check {

void slots(const Tensor& tensor, int64_t count) {
  SEER_CHECK(tensor.dtype() == DType::kF64 && tensor.numel() == count, "{} F64 slots, not {} {}", count,
             name_of(tensor.dtype()), to_string(tensor.shape()));
}

void matrices(ConstTensor tensor, const ScoreLayout& layout, int64_t heads) {
  SEER_CHECK(tensor.contiguous() && tensor.numel() >= layout.elements * heads,
             "{} holds {} heads of {} elements", to_string(tensor.shape()), heads, layout.elements);
}

void workspace(const Tensor& tensor, size_t bytes) {
  SEER_CHECK(static_cast<size_t>(tensor.numel()) * size_of(tensor.dtype()) >= bytes,
             "workspace of {} bytes, not {}", tensor.numel() * size_of(tensor.dtype()), bytes);
}

void embed(ConstTensor ids, ConstTensor table, Tensor out) {
  SEER_CHECK(ids.dtype() == DType::kI32 && ids.rows() == out.rows() && table.dim(1) == out.dim(1),
             "ids {} table {} out {}", to_string(ids.shape()), to_string(table.shape()),
             to_string(out.shape()));
}

void rms_norm(ConstTensor x, ConstTensor weight, Tensor out) {
  const int last = x.shape().rank() - 1;
  SEER_CHECK(
      x.shape() == out.shape() && x.dtype() == out.dtype() && last >= 1 && weight.numel() == x.dim(last),
      "x {} weight {} out {}", to_string(x.shape()), to_string(weight.shape()), to_string(out.shape()));
}

void linear(ConstTensor x, const StackedLinear& w, Tensor out) {
  SEER_CHECK(w.parts >= 1 && w.parts <= 3, "{} parts", w.parts);
  for (int i = 0; i < w.parts; ++i) {
    SEER_CHECK(
        w.weight[i].dim(1) == x.row_size() && is_floating(w.weight[i].dtype()) && w.weight[i].contiguous(),
        "weight {} is {} for x {}", i, to_string(w.weight[i].shape()), to_string(x.shape()));
    SEER_CHECK(w.bias[i].empty() || w.bias[i].numel() == w.weight[i].dim(0), "bias {}",
               to_string(w.bias[i].shape()));
  }
  SEER_CHECK(x.rows() == out.rows() && out.row_size() == w.out_features(), "x {} out {}",
             to_string(x.shape()), to_string(out.shape()));
}

void swiglu(ConstTensor gate_up, Tensor out) {
  SEER_CHECK(gate_up.rows() == out.rows() && gate_up.dim(1) == 2 * out.dim(1), "gate_up {} out {}",
             to_string(gate_up.shape()), to_string(out.shape()));
}

void rope(ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows, Tensor out) {
  SEER_CHECK(x.shape() == out.shape() && x.shape().rank() == 3 && x.dtype() == out.dtype(), "x {} out {}",
             to_string(x.shape()), to_string(out.shape()));
  SEER_CHECK(table.cos.dim(1) * 2 == x.dim(2) && table.sin.shape() == table.cos.shape(), "table {} for x {}",
             to_string(table.cos.shape()), to_string(x.shape()));
  for (const RowSpan& span : rows.host) {
    SEER_CHECK(span.row + span.rows <= x.rows() && span.position + span.rows <= table.cos.rows(),
               "rows {}+{} at position {} of {} with a table of {}", span.row, span.rows, span.position,
               x.rows(), table.cos.rows());
  }
}

void attention(const AttentionArgs& a) {
  SEER_CHECK(a.layout != nullptr && a.q.shape().rank() == 3 && a.k.shape().rank() == 3, "q {} k {}",
             to_string(a.q.shape()), to_string(a.k.shape()));
  SEER_CHECK(a.q.dim(2) == a.k.dim(2) && a.q.dim(1) % a.k.dim(1) == 0, "q {} k {}", to_string(a.q.shape()),
             to_string(a.k.shape()));
  SEER_CHECK(a.head_begin >= 0 && a.head_count > 0 && a.head_begin + a.head_count <= a.q.dim(1),
             "heads {}+{} of {}", a.head_begin, a.head_count, a.q.dim(1));
  SEER_CHECK(a.q.rows() >= a.layout->num_query_rows && a.k.rows() >= a.layout->num_key_rows, "layout {} x {}",
             a.layout->num_query_rows, a.layout->num_key_rows);
  if (!a.output.empty()) {
    SEER_CHECK(a.output.shape() == a.q.shape() && a.v.shape() == a.k.shape(), "output {} v {}",
               to_string(a.output.shape()), to_string(a.v.shape()));
  }
  if (!a.block_log_max.empty()) {
    SEER_CHECK(a.blocks != nullptr && a.blocks->kind == ScoreKind::kPrefill &&
                   a.blocks->segments.host.size() == a.layout->segments.host.size(),
               "block maxima need a prefill layout of the batch");
    SEER_CHECK(a.blocks->block_size > 0 && 128 % a.blocks->block_size == 0,
               "block size {}: attention takes divisors of 128", a.blocks->block_size);
    matrices(a.block_log_max, *a.blocks, a.head_count);
  }
  if (!a.logsumexp.empty()) {
    SEER_CHECK(a.logsumexp.dim(0) == a.head_count && a.logsumexp.dim(1) == a.q.rows(), "logsumexp {}",
               to_string(a.logsumexp.shape()));
  }
}

void normalise_target(ConstTensor fine_map, const ScoreLayout& fine, const ScoreLayout& coarse, int64_t heads,
                      Tensor target) {
  SEER_CHECK(
      coarse.block_size % fine.block_size == 0 && coarse.segments.host.size() == fine.segments.host.size(),
      "blocks of {} from blocks of {}", coarse.block_size, fine.block_size);
  matrices(fine_map, fine, heads);
  matrices(target, coarse, heads);
}

void pool_blocks(ConstTensor x, const Table<RowSpan>& rows, int64_t block_size, int64_t pieces, PoolSet pools,
                 Tensor out) {
  SEER_CHECK(pieces > 0 && block_size % pieces == 0, "blocks of {} in {} pieces", block_size, pieces);
  int64_t pooled = 0;
  for (const RowSpan& span : rows.host) pooled += ceil_div(span.rows, block_size) * pieces;
  SEER_CHECK(pools.count() > 0 && out.dim(2) == pools.count() * x.dim(2) && out.dim(1) == x.dim(1) &&
                 out.rows() == pooled,
             "x {} out {} for {} pooled rows", to_string(x.shape()), to_string(out.shape()), pooled);
}

void group_mean(ConstTensor x, Tensor out) {
  SEER_CHECK(x.rows() == out.rows() && x.dim(2) == out.dim(2) && x.dim(1) % out.dim(1) == 0, "x {} out {}",
             to_string(x.shape()), to_string(out.shape()));
}

void head_linear(ConstTensor x, ConstTensor w, ConstTensor out) {
  SEER_CHECK(x.shape().rank() == 3 && w.shape().rank() == 3 && x.dim(2) == w.dim(1) &&
                 w.dim(0) % x.dim(1) == 0 && out.dim(1) == w.dim(0) && out.dim(2) == w.dim(2) &&
                 out.rows() == x.rows(),
             "x {} w {} out {}", to_string(x.shape()), to_string(w.shape()), to_string(out.shape()));
  SEER_CHECK(w.contiguous() && out.contiguous() && w.dtype() == out.dtype() && is_floating(x.dtype()),
             "{} {} {}", name_of(x.dtype()), name_of(w.dtype()), name_of(out.dtype()));
}

void gate_scores(const ScoreArgs& a, ConstTensor scores) {
  SEER_CHECK(
      a.layout != nullptr && a.queries.dim(2) == a.keys.dim(2) && a.queries.dim(1) % a.keys.dim(1) == 0,
      "queries {} keys {}", to_string(a.queries.shape()), to_string(a.keys.shape()));
  const int64_t group = a.queries.dim(1) / a.keys.dim(1);
  SEER_CHECK(a.head_begin % group == 0 && a.head_count % group == 0 &&
                 a.head_begin + a.head_count <= a.queries.dim(1),
             "heads {}+{} of {} in groups of {}", a.head_begin, a.head_count, a.queries.dim(1), group);
  SEER_CHECK(a.pieces > 0 && a.pieces <= UINT8_MAX, "{} pieces", a.pieces);
  SEER_CHECK(
      a.queries.rows() >= a.layout->num_query_rows && a.keys.rows() >= a.layout->num_key_rows * a.pieces,
      "{} x {} rows, {} pieces", a.queries.rows(), a.keys.rows(), a.pieces);
  matrices(scores, *a.layout, a.head_count);
  if (!a.distance_bias.empty()) {
    SEER_CHECK(a.layout->kind == ScoreKind::kPrefill && a.distance_bias.contiguous() &&
                   a.distance_bias.shape() == Shape({a.queries.dim(1), kDistanceTerms}) &&
                   a.distance_bias.dtype() == scores.dtype(),
               "distance bias {} {}", name_of(a.distance_bias.dtype()), to_string(a.distance_bias.shape()));
  }
  if (!a.best_piece.empty()) {
    SEER_CHECK(a.best_piece.dtype() == DType::kU8 && a.best_piece.shape() == scores.shape(),
               "best pieces {} {}", name_of(a.best_piece.dtype()), to_string(a.best_piece.shape()));
  }
}

void gate_scores_backward(const ScoreArgs& a, ConstTensor score_gradient, const ScoreGradients& gradients) {
  gate_scores(a, score_gradient);
  SEER_CHECK(a.pieces == 1 || !a.best_piece.empty(), "the gradient of {} pieces without the best of them",
             a.pieces);
  SEER_CHECK((gradients.query.empty() || gradients.query.shape() == a.queries.shape()) &&
                 gradients.key.shape() == a.keys.shape(),
             "{} {}", to_string(gradients.query.shape()), to_string(gradients.key.shape()));
  if (gradients.distance.empty()) return;
  SEER_CHECK(gradients.distance.shape() == a.distance_bias.shape() && gradients.distance.contiguous() &&
                 gradients.distance_sums.contiguous() &&
                 gradients.distance_sums.shape() == Shape({a.head_count, a.layout->max_blocks + 1}),
             "distance {} sums {}", to_string(gradients.distance.shape()),
             to_string(gradients.distance_sums.shape()));
}

void kl_loss(const KlArgs& a) {
  SEER_CHECK(a.layout != nullptr && a.heads > 0, "{} heads", a.heads);
  matrices(a.scores, *a.layout, a.head_count);
  matrices(a.target, *a.layout, a.head_count);
  SEER_CHECK(a.scores.dtype() == a.target.dtype(), "{} {}", name_of(a.scores.dtype()),
             name_of(a.target.dtype()));
  slots(a.losses, a.head_count);
}

void sum_parts(ConstTensor parts, ConstTensor out) {
  SEER_CHECK(parts.dtype() == DType::kF32 && out.dtype() == DType::kF32 && out.contiguous() &&
                 parts.rows() > 0 && parts.row_size() == out.numel(),
             "sum_parts of {} {} to {} {}", name_of(parts.dtype()), to_string(parts.shape()),
             name_of(out.dtype()), to_string(out.shape()));
}

void adamw(const AdamWArgs& a) {
  const int64_t n = a.weights.numel();
  SEER_CHECK(a.gradients.numel() == n && a.first_moment.numel() == n && a.second_moment.numel() == n,
             "{} weights, {} gradients, {} and {} moments", n, a.gradients.numel(), a.first_moment.numel(),
             a.second_moment.numel());
  SEER_CHECK(a.norm_squared.dtype() == DType::kF64 && a.not_finite.dtype() == DType::kF64, "{} {}",
             name_of(a.norm_squared.dtype()), name_of(a.not_finite.dtype()));
}

}  // namespace seer::check
