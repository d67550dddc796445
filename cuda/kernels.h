// The kernels of the CUDA backend: one launcher for each operation of backend.h. Arguments have been checked;
// activations are fp32 or bf16, everything of the gates fp32. All of them are deterministic: sums have an order
// that depends on shapes alone, and no result comes from an atomic.
#pragma once

#include <algorithm>

#include <cuda_runtime.h>

#include "cuda/cuda_queue.h"
#include "src/core/error.h"
#include "src/ops/backend.h"

namespace seer::cuda {

void embed(cudaStream_t stream, ConstTensor ids, ConstTensor table, Tensor out, DeviceFault* fault);
void swiglu(cudaStream_t stream, ConstTensor gate_up, Tensor out);
void copy(cudaStream_t stream, ConstTensor from, Tensor to);
void fill_zero(cudaStream_t stream, Tensor x);
void flag_not_finite(cudaStream_t stream, ConstTensor x, Tensor slot);
void sum_parts(cudaStream_t stream, ConstTensor parts, Tensor out);

void rms_norm(cudaStream_t stream, ConstTensor x, ConstTensor weight, double eps, Tensor out);
void rms_norm_backward(cudaStream_t stream, ConstTensor x, ConstTensor weight, double eps,
                       ConstTensor out_gradient, Tensor x_gradient, Tensor w_gradient);

void rope(cudaStream_t stream, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
          RopeDirection direction, Tensor out);

/// The reference: fp32, any head_dim up to 256.
void attention_fp32(cudaStream_t stream, const AttentionArgs& args);
size_t attention_fp32_workspace(const AttentionArgs& args);

void normalise_target(cudaStream_t stream, ConstTensor block_log_max, const ScoreLayout& fine,
                      const ScoreLayout& coarse, int64_t heads, Tensor target);

void pool_blocks(cudaStream_t stream, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                 int64_t pieces, PoolSet pools, Tensor out);
void group_mean(cudaStream_t stream, ConstTensor x, Tensor out);

void head_linear(cudaStream_t stream, ConstTensor x, ConstTensor w, Tensor out);
void head_linear_backward(cudaStream_t stream, ConstTensor x, ConstTensor out_gradient, Tensor w_gradient);

void gate_scores(cudaStream_t stream, const ScoreArgs& args, Tensor scores);
void gate_scores_backward(cudaStream_t stream, const ScoreArgs& args, ConstTensor score_gradient,
                          const ScoreGradients& gradients);
/// The part of gate_scores_backward() that adds to gradients.distance.
void distance_bias_backward(cudaStream_t stream, const ScoreArgs& args, ConstTensor score_gradient,
                            const ScoreGradients& gradients);

void kl_loss(cudaStream_t stream, const KlArgs& args);
size_t kl_workspace(const KlArgs& args);

void split_signs(cudaStream_t stream, ConstTensor x, Tensor out);
void position_scores(cudaStream_t stream, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                     int64_t head_begin, int64_t head_count, Tensor scores);
void antidiagonal_scores(cudaStream_t stream, const AntidiagonalArgs& args);
size_t antidiagonal_workspace(const AntidiagonalArgs& args);

void select_blocks(cudaStream_t stream, const SelectArgs& args);
void kept_recall(cudaStream_t stream, const KeptRecallArgs& args);
size_t kept_recall_workspace(const KeptRecallArgs& args);

/// The reference: any block size, any head_dim up to 256.
void sparse_attention_fp32(cudaStream_t stream, const SparseAttentionArgs& args);

void token_nll(cudaStream_t stream, ConstTensor logits, ConstTensor targets, Tensor nll, DeviceFault* fault);

void add_squared_norm(cudaStream_t stream, ConstTensor x, Tensor slot, Tensor workspace);
size_t norm_workspace(int64_t elements);
void adamw(cudaStream_t stream, const AdamWArgs& args);

/// Elements of a table on the device.
template <typename T>
const T* device_table(const Table<T>& table) {
  SEER_CHECK(table.host.empty() || !table.device.empty(), "the layout was not uploaded to the device");
  return static_cast<const T*>(table.device.raw());
}

inline int64_t rows_of(const RowSpan& span) {
  return span.rows;
}
inline int64_t rows_of(const ScoreSegment& segment) {
  return segment.queries.rows;
}
/// Rows of the table's longest entry; 0 without entries.
template <typename T>
int64_t most_rows(const Table<T>& table) {
  int64_t rows = 0;
  for (const T& entry : table.host) rows = std::max(rows, rows_of(entry));
  return rows;
}

/// The length of a grid's y or z axis that counts the sequences of a pack, or pieces of them.
inline unsigned grid_axis(size_t count) {
  constexpr size_t kMost = 65535;
  if (count > kMost) fail("the pack has {} segments; the CUDA backend takes up to {}", count, kMost);
  return static_cast<unsigned>(count);
}

}  // namespace seer::cuda
