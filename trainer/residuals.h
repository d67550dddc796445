// The residual stream of every micro-batch of a step: between two layers it is all that is left of a micro-batch.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "src/ops/backend.h"
#include "trainer/micro_batch.h"

namespace seer {

enum class ResidualPlace {
  kDevice,  ///< All of them stay on the device.
  kHost,  ///< In pinned host memory; those in use visit the device, copied behind the compute of their neighbours.
};

/// Sweeps are layer-major, so streams come in turn: 0 .. M-1 of one layer, then of the next. On the host, three device
/// buffers are enough: one is loaded, one computed on, one stored.
class Residuals {
 public:
  /// Streams [capacity, hidden] in the backend's activation dtype, for steps of at most `count` micro-batches.
  Residuals(Backend& backend, int64_t count, int64_t capacity, int64_t hidden, ResidualPlace place);

  /// Begins a sweep over `batches` and `layers` layers.
  void start(std::span<const MicroBatch> batches, int64_t layers);

  /// The rows of micro-batch `m` [tokens, hidden], for operations that `queue` is given until end(). Before layer 0
  /// their values are undefined: the embedding writes them.
  Tensor begin(Backend& backend, Queue& queue, int64_t layer, int64_t m);
  void end(Backend& backend, Queue& queue, int64_t layer, int64_t m);

  size_t device_bytes() const;

 private:
  static constexpr int64_t kBuffers = 3;

  struct Slot {
    Buffer buffer;
    std::unique_ptr<Event> loaded;
    std::unique_ptr<Event> used;  ///< Compute is done with it.
    int64_t stream = -1;          ///< Whose values were stored from it last
  };

  Slot& slot_of(int64_t layer, int64_t m) { return slots_[(layer * count() + m) % kBuffers]; }
  int64_t count() const { return static_cast<int64_t>(batches_.size()); }
  Tensor rows(const Buffer& buffer, int64_t m) const;
  void wait_until_free(Backend& backend, Queue& queue, Slot& slot);
  void load(Backend& backend, int64_t layer, int64_t m);

  ResidualPlace place_;
  DType dtype_;
  int64_t hidden_;
  std::vector<Buffer> streams_;  // on the device or the host
  std::vector<std::unique_ptr<Event>> stored_;
  std::array<Slot, kBuffers> slots_;
  std::span<const MicroBatch> batches_;
  int64_t layers_ = 0;
  std::unique_ptr<Queue> loads_;
  std::unique_ptr<Queue> stores_;
};

}  // namespace seer
