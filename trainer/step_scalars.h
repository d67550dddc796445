// The small device arrays that every loss, norm and flag of a step goes to, and their copies on the host.
#pragma once

#include <span>
#include <vector>

#include "src/gate/distill_layer.h"
#include "src/ops/backend.h"
#include "trainer/ranks.h"

namespace seer {

/// Every micro-batch has slots of its own, and the host adds them up in the order of the step: what is reported then
/// does not depend on how many ranks shared the work. All fp64:
///   flags   [layers] of the base model, then [gate][layer] of the gradients: not finite
///   losses  [micro-batch][gate]: losses [layer][head], then [layer][density] recall and oracle [head]
///   norms   [gate] squared, of the gradients of all ranks
/// Flags and losses of all ranks are gathered at the end of a step. Read once a step.
class StepScalars {
 public:
  /// `micro_batches`: of this rank.
  StepScalars(Backend& backend, const RankPlace& place, int64_t layers, int64_t heads, int64_t gates,
              const std::vector<double>& densities, int64_t micro_batches);

  Tensor not_finite(int64_t layer) const { return flag(layer); }   ///< [1]
  Tensor gradient_not_finite(int64_t gate, int64_t layer) const {  ///< [1]
    return flag((1 + gate) * layers_ + layer);
  }
  Tensor all_not_finite() const {
    return all_flags_.tensor(DType::kF64, Shape{ranks_ * flags_});
  }                                          ///< Of all ranks
  Tensor norm_squared(int64_t gate) const {  ///< [1]
    return norms_.tensor(DType::kF64, Shape{gates_}).slice_rows(gate, 1);
  }
  Tensor losses(int64_t micro_batch, int64_t gate, int64_t layer) const;  ///< [heads]
  /// One entry for each density.
  std::span<const RecallSlots> recalls(int64_t micro_batch, int64_t gate, int64_t layer) const;

  void zero(Backend& backend, Queue& queue) const;
  /// Flags and losses of every rank of `world` arrive here.
  void gather(Queue& queue, Communicator& world);
  /// Enqueues the copy to the host; the accessors below hold its values once the queue has run it.
  void download(Backend& backend, Queue& queue);

  size_t device_bytes() const { return all_flags_.bytes() + all_values_.bytes() + norms_.bytes(); }

  /// Of any rank.
  bool host_not_finite(int64_t layer) const { return host_flag(layer); }
  bool host_gradient_not_finite(int64_t gate, int64_t layer) const {
    return host_flag((1 + gate) * layers_ + layer);
  }
  double host_norm_squared(int64_t gate) const { return host(host_norms_)[gate]; }
  /// `sequence`: its number among those the data ranks share, rank 0's first. Over all heads and context ranks.
  double host_loss(int64_t sequence, int64_t gate, int64_t layer) const {
    return sum(sequence, losses_offset(gate, layer));
  }
  double host_recall(int64_t sequence, int64_t gate, int64_t layer, int64_t density) const {
    return sum(sequence, recall_offset(gate, layer, density, false));
  }
  double host_oracle(int64_t sequence, int64_t gate, int64_t layer, int64_t density) const {
    return sum(sequence, recall_offset(gate, layer, density, true));
  }

 private:
  /// This rank's row of an array of all ranks.
  Tensor own(const Buffer& all, int64_t size) const;
  Tensor flag(int64_t number) const { return own(all_flags_, flags_).slice_rows(number, 1); }
  Tensor slots(int64_t micro_batch, int64_t offset) const;
  static const double* host(const Buffer& buffer) { return static_cast<const double*>(buffer.data()); }
  bool host_flag(int64_t number) const;
  double sum(int64_t sequence, int64_t offset) const;
  int64_t losses_offset(int64_t gate, int64_t layer) const { return gate * gate_size_ + layer * heads_; }
  int64_t recall_offset(int64_t gate, int64_t layer, int64_t density, bool oracle) const;

  RankPlace place_;
  int64_t ranks_;
  int64_t layers_, heads_, gates_, densities_, micro_batches_;
  int64_t flags_;       // of a rank
  int64_t gate_size_;   // losses and recalls of one gate and micro-batch
  int64_t batch_size_;  // of all gates of one micro-batch
  Buffer all_flags_, all_values_, norms_;
  Buffer host_flags_, host_values_, host_norms_;
  std::vector<RecallSlots> recalls_;  // [micro-batch][gate][layer][density]
};

}  // namespace seer
