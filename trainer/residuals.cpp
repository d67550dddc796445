#include "trainer/residuals.h"

namespace seer {

Residuals::Residuals(Backend& backend, int64_t count, int64_t capacity, int64_t hidden, ResidualPlace place)
    : place_(place), dtype_(backend.activation_dtype()), hidden_(hidden) {
  const size_t bytes = capacity * hidden * size_of(dtype_);
  const bool host = place == ResidualPlace::kHost;
  for (int64_t m = 0; m < count; ++m) {
    streams_.push_back(backend.allocate(bytes, host ? Memory::kHostPinned : Memory::kDevice));
    if (host) stored_.push_back(backend.make_event());
  }
  if (!host) return;
  for (Slot& slot : slots_) {
    slot.buffer = backend.allocate(bytes, Memory::kDevice);
    slot.loaded = backend.make_event();
    slot.used = backend.make_event();
  }
  loads_ = backend.make_queue("residual loads");
  stores_ = backend.make_queue("residual stores");
}

void Residuals::start(std::span<const MicroBatch> batches, int64_t layers) {
  SEER_CHECK(batches.size() <= streams_.size(), "{} micro-batches, {} residual streams", batches.size(),
             streams_.size());
  batches_ = batches;
  layers_ = layers;
}

Tensor Residuals::rows(const Buffer& buffer, int64_t m) const {
  return buffer.tensor(dtype_, Shape{batches_[m].tokens(), hidden_});
}

/// What was computed on the slot has been stored, or was of no more use.
void Residuals::wait_until_free(Backend& backend, Queue& queue, Slot& slot) {
  backend.wait(queue, *slot.used);
  if (slot.stream >= 0) backend.wait(queue, *stored_[slot.stream]);
}

void Residuals::load(Backend& backend, int64_t layer, int64_t m) {
  Slot& slot = slot_of(layer, m);
  wait_until_free(backend, *loads_, slot);
  backend.wait(*loads_, *stored_[m]);
  backend.copy(*loads_, rows(streams_[m], m), rows(slot.buffer, m));
  backend.record(*loads_, *slot.loaded);
}

Tensor Residuals::begin(Backend& backend, Queue& queue, int64_t layer, int64_t m) {
  if (place_ == ResidualPlace::kDevice) return rows(streams_[m], m);
  Slot& slot = slot_of(layer, m);
  if (layer == 0) {
    wait_until_free(backend, queue, slot);
  } else {
    if (count() == 1) load(backend, layer, m);  // nothing ran between that could have hidden it
    backend.wait(queue, *slot.loaded);
  }
  // The next one's values were stored a layer ago: they can come while this one computes.
  const bool wraps = m + 1 == count();
  const int64_t next_layer = wraps ? layer + 1 : layer;
  if (count() > 1 && next_layer > 0 && next_layer < layers_) load(backend, next_layer, wraps ? 0 : m + 1);
  return rows(slot.buffer, m);
}

void Residuals::end(Backend& backend, Queue& queue, int64_t layer, int64_t m) {
  if (place_ == ResidualPlace::kDevice) return;
  Slot& slot = slot_of(layer, m);
  backend.record(queue, *slot.used);
  if (layer + 1 == layers_) return;  // nobody needs the last layer's output
  backend.wait(*stores_, *slot.used);
  backend.copy(*stores_, rows(slot.buffer, m), rows(streams_[m], m));
  backend.record(*stores_, *stored_[m]);
  slot.stream = m;
}

size_t Residuals::device_bytes() const {
  size_t bytes = 0;
  if (place_ == ResidualPlace::kDevice) {
    for (const Buffer& stream : streams_) bytes += stream.bytes();
  } else {
    for (const Slot& slot : slots_) bytes += slot.buffer.bytes();
  }
  return bytes;
}

}  // namespace seer
