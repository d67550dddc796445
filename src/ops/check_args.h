// The argument checks every backend makes at the moment an operation is called, written once.
#pragma once

#include "src/ops/backend.h"

namespace seer::check {

void embed(ConstTensor ids, ConstTensor table, Tensor out);
void rms_norm(ConstTensor x, ConstTensor weight, Tensor out);
void linear(ConstTensor x, const StackedLinear& w, Tensor out);
void swiglu(ConstTensor gate_up, Tensor out);
void rope(ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows, Tensor out);
void attention(const AttentionArgs& args);
void normalise_target(ConstTensor fine_map, const ScoreLayout& fine, const ScoreLayout& coarse, int64_t heads,
                      Tensor target);
void pool_blocks(ConstTensor x, const Table<RowSpan>& rows, int64_t block_size, int64_t pieces, PoolSet pools,
                 Tensor out);
void group_mean(ConstTensor x, Tensor out);
void head_linear(ConstTensor x, ConstTensor w, ConstTensor out);
void gate_scores(const ScoreArgs& args, ConstTensor scores);
void gate_scores_backward(const ScoreArgs& args, ConstTensor score_gradient, const ScoreGradients& gradients);
void kl_loss(const KlArgs& args);
void sum_parts(ConstTensor parts, ConstTensor out);
void adamw(const AdamWArgs& args);

// Of src/ops/sparse_args.h, in check_sparse_args.cpp.
void split_signs(ConstTensor x, ConstTensor out);
void position_scores(const ScoreLayout& layout, int64_t head_begin, int64_t head_count, ConstTensor scores);
void antidiagonal_scores(const AntidiagonalArgs& args);
void select_blocks(const SelectArgs& args);
void kept_recall(const KeptRecallArgs& args);
void sparse_attention(const SparseAttentionArgs& args);
void token_nll(ConstTensor logits, ConstTensor targets, ConstTensor nll);

/// Score matrices of `heads` heads, dense.
void matrices(ConstTensor tensor, const ScoreLayout& layout, int64_t heads);
/// `count` fp64 slots.
void slots(const Tensor& tensor, int64_t count);
/// A workspace of at least `bytes` bytes.
void workspace(const Tensor& tensor, size_t bytes);

}  // namespace seer::check
