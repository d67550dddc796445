// Sparse attention on one attention problem, over lists that benches make for it.
#pragma once

#include <string>

#include "cuda/bench/timing.h"
#include "trainer/device_tensors.h"

namespace seer {

/// Something that is timed.
struct SparseWork {
  std::string name;
  cuda::GpuTimer::Enqueue enqueue;
  double density = 0;  ///< Kept blocks / visible blocks; 0: not sparse attention
  double kept = 0;     ///< Blocks, of all rows and heads
  bool shared = false;
  cuda::Timing timing;
};

/// Random lists for one problem of one sequence, and sparse attention with them. Works refer to the problem.
class SparseProblem {
 public:
  /// `dense` without block maxima; `blocks` must outlive the problem.
  SparseProblem(Backend& backend, Queue& queue, const AttentionArgs& dense, const ScoreLayout& blocks);

  int64_t heads() const { return dense_.head_count; }
  int64_t group() const { return dense_.q.dim(1) / dense_.k.dim(1); }
  Tensor scores() const { return scores_; }
  BlockLists make_lists();

  /// Every visible block is kept with this probability, and the diagonal; `shared` by the heads of a group.
  SparseWork random(double density, bool shared);

  /// Lists of all heads from scores().
  void select(const SelectionRule& rule, bool probabilities, const BlockLists& lists);

 private:
  // Matrices of one sequence lie head after head.
  Tensor row_of(int64_t head) const { return scores_.slice_rows(head, 1); }
  Tensor draws_of(int64_t count) const { return scores_.slice_rows(0, count); }
  SparseAttentionArgs attention_args(const BlockLists& lists);

  Backend& backend_;
  Queue& queue_;
  AttentionArgs dense_;
  const ScoreLayout& blocks_;
  DeviceTensors memory_;
  Tensor scores_;
  Tensor kept_;
};

}  // namespace seer
