// Several layers' attention as one layer's with all their heads: what the gates of a small model choose, at the number of
// heads that a large one has. Heads attend for themselves, so nothing of the work is another.
#pragma once

#include "trainer/device_tensors.h"
#include "trainer/eval/gate_attention.h"

namespace seer {

class SideBySide {
 public:
  /// `backend` must outlive it.
  SideBySide(Backend& backend, int64_t layers) : backend_(backend), layers_(layers), memory_(backend) {}

  /// Copies q, k, v and lists. All layers must be of one pass over one sequence: lists of several lie otherwise.
  void add(Queue& queue, const GateAttention& layer);
  bool complete() const { return count_ == layers_; }
  bool empty() const { return count_ == 0; }
  /// All layers added since the last call: `layer` is the first one's, sums are over all. Valid until the next add().
  GateAttention take();

 private:
  void plan(const GateAttention& layer);

  Backend& backend_;
  const int64_t layers_;
  int64_t count_ = 0;
  DeviceTensors memory_;
  Tensor q_, k_, v_;
  GateAttention work_;
};

}  // namespace seer
