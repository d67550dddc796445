// Layers of which every rank of a group keeps a slice: brought together while the layer before computes.
//
//   slices           rank r holds bytes [r, r + 1) * slice_bytes of every layer, resident or streamed from files
//   exchange queue   gather 0 | gather 1            | gather 2            |     into slot 0, 1, 0, ..
//   compute queue             | begin(0) .. end(0)  | begin(1) .. end(1)  |
//
// Layers come in the order 0 .. L-1, again and again, as sweeps take them: layer 0 of the next sweep is gathered during
// the last one of this.
#pragma once

#include <array>
#include <memory>

#include "src/model/weight_stream.h"
#include "src/ops/communicator.h"

namespace seer {

class LayerGather {
 public:
  static constexpr int kSlots = 2;

  /// Slices are resident: the caller fills slice(). Collectives go to `exchange`; both must outlive the object.
  LayerGather(Backend& backend, Communicator& group, Queue& exchange, int64_t num_layers, size_t layer_bytes);
  /// Slices come from `slices`, a stream of slice_bytes() for every layer.
  LayerGather(Backend& backend, Communicator& group, Queue& exchange, int64_t num_layers, size_t layer_bytes,
              std::unique_ptr<WeightStream> slices);

  ~LayerGather();
  LayerGather(const LayerGather&) = delete;
  LayerGather& operator=(const LayerGather&) = delete;

  /// Of a layer, what each of `ranks` keeps: whole cache lines, the last padded.
  static size_t slice_bytes(size_t layer_bytes, int ranks);
  /// Device memory of it all.
  static size_t planned_bytes(int64_t num_layers, size_t layer_bytes, int ranks, bool stream);

  /// Where this rank's slice of a layer lies, if slices are resident.
  Tensor slice(int64_t layer) const;
  void* slot(int number) const { return slots_[number].data(); }
  const WeightStream* stream() const { return stream_.get(); }

  /// Makes `queue` wait until the layer is whole, and returns the slot's number. Layers must be asked for in their order.
  int begin(Queue& queue, int64_t layer);
  /// Starts the gather of the layer after the one begun, behind what the exchange queue has been given so far.
  void prefetch();
  /// What `queue` was given until now is the last that uses the layer.
  void end(Queue& queue, int64_t layer);

 private:
  void start_gather();

  Backend& backend_;
  Communicator& group_;
  Queue& exchange_;
  int64_t num_layers_;
  int64_t slice_bytes_;
  Buffer slices_;  // [layers, slice], unless streamed
  std::unique_ptr<WeightStream> stream_;
  std::array<Buffer, kSlots> slots_;
  std::array<std::unique_ptr<Event>, kSlots> ready_;
  std::array<std::unique_ptr<Event>, kSlots> free_;
  int64_t started_ = 0;  // turns whose gather has been enqueued; turn t is layer t % L in slot t % kSlots
  int64_t begun_ = 0;
  int64_t ended_ = 0;
};

}  // namespace seer
