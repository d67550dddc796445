#include <cmath>

#include "src/core/error.h"
#include "src/ops/check_args.h"

namespace seer::check {
namespace {

void prefill(const ScoreLayout* layout) {
  SEER_CHECK(layout != nullptr && layout->kind == ScoreKind::kPrefill, "a prefill layout is needed");
}

void lists(const BlockLists& lists, const ScoreLayout& layout, int64_t heads) {
  SEER_CHECK(lists.counts.dtype() == DType::kI32 && lists.blocks.dtype() == DType::kI32 &&
                 lists.counts.contiguous() && lists.counts.numel() >= heads * layout.num_query_rows,
             "counts {} {} of lists {} for {} heads of {} rows", name_of(lists.counts.dtype()),
             to_string(lists.counts.shape()), name_of(lists.blocks.dtype()), heads, layout.num_query_rows);
  matrices(lists.blocks, layout, heads);
}

/// q, k of a batch and its layouts, as attention takes them.
void queries_and_keys(ConstTensor q, ConstTensor k, const BatchLayout* batch, const ScoreLayout* blocks,
                      int64_t head_begin, int64_t head_count) {
  prefill(blocks);
  SEER_CHECK(batch != nullptr && q.shape().rank() == 3 && k.shape().rank() == 3 && q.dim(2) == k.dim(2) &&
                 q.dim(1) % k.dim(1) == 0,
             "q {} k {}", to_string(q.shape()), to_string(k.shape()));
  SEER_CHECK(head_begin >= 0 && head_count > 0 && head_begin + head_count <= q.dim(1), "heads {}+{} of {}",
             head_begin, head_count, q.dim(1));
  SEER_CHECK(q.rows() >= batch->num_query_rows && k.rows() >= batch->num_key_rows, "layout {} x {}",
             batch->num_query_rows, batch->num_key_rows);
  SEER_CHECK(blocks->segments.host.size() == batch->segments.host.size(), "blocks of another batch");
}

}  // namespace

void split_signs(ConstTensor x, ConstTensor out) {
  SEER_CHECK(x.dtype() == DType::kF32 && out.dtype() == DType::kF32 && out.contiguous() && x.contiguous() &&
                 x.rows() == out.rows() && x.dim(1) == out.dim(1) && out.dim(2) == 2 * x.dim(2),
             "x {} out {}", to_string(x.shape()), to_string(out.shape()));
}

void position_scores(const ScoreLayout& layout, int64_t head_begin, int64_t head_count, ConstTensor scores) {
  prefill(&layout);
  SEER_CHECK(head_begin >= 0 && head_count > 0 && scores.dtype() == DType::kF32, "heads {}+{}, {}",
             head_begin, head_count, name_of(scores.dtype()));
  matrices(scores, layout, head_count);
}

void antidiagonal_scores(const AntidiagonalArgs& a) {
  queries_and_keys(a.q, a.k, a.layout, a.blocks, a.head_begin, a.head_count);
  SEER_CHECK(a.stride > 0 && a.blocks->block_size % a.stride == 0, "stride {} in blocks of {}", a.stride,
             a.blocks->block_size);
  SEER_CHECK(a.scores.dtype() == DType::kF32, "{}", name_of(a.scores.dtype()));
  matrices(a.scores, *a.blocks, a.head_count);
}

void select_blocks(const SelectArgs& a) {
  prefill(a.layout);
  SEER_CHECK(a.head_count > 0 && a.scores.dtype() == DType::kF32, "{} heads, {}", a.head_count,
             name_of(a.scores.dtype()));
  const SelectionRule& rule = a.rule;
  SEER_CHECK(
      rule.sink_blocks >= 0 && rule.local_blocks >= 0 && rule.dense_last_rows >= 0 && rule.min_blocks >= 0,
      "{} sink, {} local, {} dense, {} least blocks", rule.sink_blocks, rule.local_blocks,
      rule.dense_last_rows, rule.min_blocks);
  const double most = rule.by == SelectBy::kNzRatio ? 1.0 : 0x1p62;
  SEER_CHECK(std::isfinite(rule.value) &&
                 (rule.by == SelectBy::kThreshold || (rule.value >= 0 && rule.value <= most)),
             "rule {} of value {}", static_cast<int>(rule.by), rule.value);
  matrices(a.scores, *a.layout, a.head_count);
  lists(a.lists, *a.layout, a.head_count);
  if (!a.values.empty()) {
    SEER_CHECK(a.values.dtype() == DType::kF32 && a.values.numel() == a.head_count, "{} values for {} heads",
               a.values.numel(), a.head_count);
  }
  if (!a.kept.empty()) slots(a.kept, a.head_count);
}

void kept_recall(const KeptRecallArgs& a) {
  prefill(a.layout);
  SEER_CHECK(a.heads > 0 && a.target.dtype() == DType::kF32, "{} heads, {}", a.heads,
             name_of(a.target.dtype()));
  matrices(a.target, *a.layout, a.head_count);
  lists(a.lists, *a.layout, a.head_count);
  slots(a.recall, a.head_count);
}

void sparse_attention(const SparseAttentionArgs& a) {
  queries_and_keys(a.q, a.k, a.layout, a.blocks, a.head_begin, a.head_count);
  SEER_CHECK(a.output.shape() == a.q.shape() && a.v.shape() == a.k.shape(), "output {} v {}",
             to_string(a.output.shape()), to_string(a.v.shape()));
  SEER_CHECK(a.blocks->block_size > 0 && 128 % a.blocks->block_size == 0,
             "block size {}: attention takes divisors of 128", a.blocks->block_size);
  lists(a.lists, *a.blocks, a.head_count);
}

void token_nll(ConstTensor logits, ConstTensor targets, ConstTensor nll) {
  SEER_CHECK(logits.shape().rank() == 2 && targets.dtype() == DType::kI32 && nll.dtype() == DType::kF32 &&
                 targets.numel() == logits.rows() && nll.numel() == logits.rows() && targets.contiguous() &&
                 nll.contiguous(),
             "logits {} targets {} nll {}", to_string(logits.shape()), to_string(targets.shape()),
             to_string(nll.shape()));
}

}  // namespace seer::check
