// A layer's gradients from many micro-batches and ranks: added up in one order, whatever the number of ranks.
//
// The order is a binary tree over the step's micro-batches (src/core/tree_order.h). A rank adds up its own, which lie
// one behind the other; the ranks then exchange slices, each adds up one slice of all ranks by the same rule, and the
// slices are gathered. That moves the bytes of a ring all-reduce, and 1, 2, 4 or 8 ranks get the same bits.
//
// Some layers are exchanged together: a rank that is ahead waits for its peers in the exchange, on multiprocessors that
// its compute then lacks. Every layer by itself cost two H200s 2.4 % of a step of 65,536 tokens each.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "trainer/gate_training.h"
#include "trainer/ranks.h"

namespace seer {

class GradientSum {
 public:
  /// Of all gates: the layers whose gradients take no more than this are exchanged together.
  static constexpr int64_t kBytesTogether = int64_t{32} << 20;

  /// Takes all memory. `micro_batches`: of this rank.
  GradientSum(Backend& backend, const RankGroups& ranks, std::span<const GateTraining> gates,
              int64_t micro_batches, int64_t bytes_together = kBytesTogether);

  /// Where the gradients of gate `g` for micro-batch `m` of `layer` are added to: zero. Micro-batches come in order.
  GateTensors begin(Backend& backend, Queue& queue, GateTraining& gate, int64_t g, int64_t layer, int64_t m);
  /// The micro-batch's gradients are complete.
  void end(Backend& backend, Queue& queue, GateTraining& gate, int64_t g, int64_t layer, int64_t m);

  /// All micro-batches of the layer have ended: once some layers have come together, starts their sum over ranks, beside
  /// what `queue` computes next.
  void reduce(Backend& backend, Queue& queue, std::span<GateTraining> gates, int64_t layer);
  /// `queue` waits for the sums over ranks of all layers.
  void finish(Backend& backend, Queue& queue);

  size_t device_bytes() const;

 private:
  /// Memory of one gate.
  struct Sums {
    Buffer waiting;   ///< [depth, n] partial sums of micro-batches, if there are several
    Buffer slices;    ///< [ranks, slice]: the gradients of some layers, cut for the exchange
    Buffer received;  ///< [ranks, slice]: one slice of every rank
    Buffer total;     ///< [slice]
    int64_t size = 0;
    int64_t slice = 0;
  };

  void sum_over_ranks(Backend& backend, const Sums& sums, Tensor gradients);

  Communicator* world_;
  Queue* exchange_;
  int64_t micro_batches_;
  int64_t layers_together_ = 1;
  int64_t first_waiting_ = 0;  ///< The layers from here on have not been exchanged
  std::vector<Sums> sums_;
  std::vector<int> depth_;  ///< Of every gate's waiting sums
  std::unique_ptr<Event> computed_;
  std::unique_ptr<Event> reduced_;
};

}  // namespace seer
