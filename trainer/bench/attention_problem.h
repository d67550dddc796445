// One causal sequence of random q, k and v on a GPU, and the ways the sweep asks for its attention.
#pragma once

#include "src/ops/layout_tables.h"
#include "trainer/device_tensors.h"

namespace seer {

struct AttentionShape {
  int64_t tokens = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t block_size = 0;
};

/// `backend` must be a CUDA backend in bf16, and it and `queue` must outlive the problem.
class AttentionProblem {
 public:
  AttentionProblem(Backend& backend, Queue& queue, const AttentionShape& shape);

  /// Output and block maxima: a layer of the sweep.
  const AttentionArgs& with_maxima() const { return with_maxima_; }
  /// No output: the last layer of the sweep.
  AttentionArgs maxima_alone() const;
  /// No block maxima: dense attention.
  AttentionArgs dense() const;

  /// From the block maxima that attention left to the target T.
  void normalise();

 private:
  Backend& backend_;
  Queue& queue_;
  BatchLayout layout_;
  ScoreLayout blocks_;
  LayoutTables tables_;
  DeviceTensors memory_;
  AttentionArgs with_maxima_;
  Tensor target_;
};

}  // namespace seer
