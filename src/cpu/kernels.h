// The kernels of the CPU backend: one function per operation of backend.h, run on the queue's thread with the
// tiles spread over `pool`. Arguments have been checked.
#pragma once

#include "src/core/thread_pool.h"
#include "src/ops/backend.h"

namespace seer::cpu {

void embed(ThreadPool& pool, ConstTensor ids, ConstTensor table, Tensor out);
void swiglu(ThreadPool& pool, ConstTensor gate_up, Tensor out);
void copy(ConstTensor from, Tensor to);
void fill_zero(Tensor x);
void flag_not_finite(ThreadPool& pool, ConstTensor x, Tensor slot);
void sum_parts(ThreadPool& pool, ConstTensor parts, Tensor out);

void rms_norm(ThreadPool& pool, ConstTensor x, ConstTensor weight, double eps, Tensor out);
void rms_norm_backward(ThreadPool& pool, ConstTensor x, ConstTensor weight, double eps,
                       ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient);

void linear(ThreadPool& pool, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
            Tensor workspace);
size_t linear_workspace(const ThreadPool& pool, const StackedLinear& w);

void rope(ThreadPool& pool, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
          RopeDirection direction, Tensor out);

void attention(ThreadPool& pool, const AttentionArgs& args);
size_t attention_workspace(const ThreadPool& pool, const AttentionArgs& args);

void normalise_target(ThreadPool& pool, ConstTensor block_log_max, const ScoreLayout& fine,
                      const ScoreLayout& coarse, int64_t heads, Tensor target);

void pool_blocks(ThreadPool& pool, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                 int64_t pieces, PoolSet pools, Tensor out);
void group_mean(ThreadPool& pool, ConstTensor x, Tensor out);

void head_linear(ThreadPool& pool, ConstTensor x, ConstTensor w, Tensor out);
void head_linear_backward(ThreadPool& pool, ConstTensor x, ConstTensor out_gradient, Tensor w_gradient);

void gate_scores(ThreadPool& pool, const ScoreArgs& args, Tensor scores);
void gate_scores_backward(ThreadPool& pool, const ScoreArgs& args, ConstTensor score_gradient,
                          const ScoreGradients& gradients);

void kl_loss(ThreadPool& pool, const KlArgs& args);
size_t kl_workspace(const KlArgs& args);

void split_signs(ThreadPool& pool, ConstTensor x, Tensor out);
void position_scores(ThreadPool& pool, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                     int64_t head_begin, int64_t head_count, Tensor scores);
void antidiagonal_scores(ThreadPool& pool, const AntidiagonalArgs& args);
size_t antidiagonal_workspace(const ThreadPool& pool, const AntidiagonalArgs& args);
void select_blocks(ThreadPool& pool, const SelectArgs& args);
size_t select_workspace(const ThreadPool& pool, const SelectArgs& args);
void kept_recall(ThreadPool& pool, const KeptRecallArgs& args);
size_t kept_recall_workspace(const KeptRecallArgs& args);
void sparse_attention(ThreadPool& pool, const SparseAttentionArgs& args);
size_t sparse_attention_workspace(const ThreadPool& pool, const SparseAttentionArgs& args);
void token_nll(ThreadPool& pool, ConstTensor logits, ConstTensor targets, Tensor nll);

void add_squared_norm(ThreadPool& pool, ConstTensor x, Tensor slot, Tensor workspace);
size_t norm_workspace(int64_t elements);
void adamw(ThreadPool& pool, const AdamWArgs& args);

}  // namespace seer::cpu
