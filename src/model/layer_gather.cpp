#include "src/model/layer_gather.h"

#include "src/core/ceil_div.h"

namespace seer {

size_t LayerGather::slice_bytes(size_t layer_bytes, int ranks) {
  constexpr int64_t kAlignment = 256;
  const int64_t share = ceil_div(static_cast<int64_t>(layer_bytes), int64_t{ranks});
  return static_cast<size_t>(ceil_div(share, kAlignment) * kAlignment);
}

size_t LayerGather::planned_bytes(int64_t num_layers, size_t layer_bytes, int ranks, bool stream) {
  const size_t slice = slice_bytes(layer_bytes, ranks);
  const size_t slices = stream ? WeightStream::kSlots : static_cast<size_t>(num_layers);
  return slices * slice + kSlots * slice * static_cast<size_t>(ranks);
}

LayerGather::LayerGather(Backend& backend, Communicator& group, Queue& exchange, int64_t num_layers,
                         size_t layer_bytes)
    : LayerGather(backend, group, exchange, num_layers, layer_bytes, nullptr) {
  slices_ = backend.allocate(num_layers * slice_bytes_, Memory::kDevice);
}

LayerGather::LayerGather(Backend& backend, Communicator& group, Queue& exchange, int64_t num_layers,
                         size_t layer_bytes, std::unique_ptr<WeightStream> slices)
    : backend_(backend),
      group_(group),
      exchange_(exchange),
      num_layers_(num_layers),
      slice_bytes_(static_cast<int64_t>(slice_bytes(layer_bytes, group.size()))),
      stream_(std::move(slices)) {
  for (int slot = 0; slot < kSlots; ++slot) {
    slots_[slot] = backend.allocate(slice_bytes_ * group.size(), Memory::kDevice);
    ready_[slot] = backend.make_event();
    free_[slot] = backend.make_event();
  }
}

LayerGather::~LayerGather() {
  try {
    backend_.synchronize(exchange_);
  } catch (const Error&) {  // nobody waits for these layers any more
  }
}

Tensor LayerGather::slice(int64_t layer) const {
  return slices_.tensor(DType::kU8, Shape{num_layers_, slice_bytes_})
      .slice_rows(layer, 1)
      .reshape(Shape{slice_bytes_});
}

void LayerGather::start_gather() {
  const int64_t layer = started_ % num_layers_;
  const auto slot = static_cast<size_t>(started_ % kSlots);
  SEER_CHECK(started_ < ended_ + kSlots, "layer {} is gathered into a slot that is in use", layer);
  backend_.wait(exchange_, *free_[slot]);
  const Tensor whole = slots_[slot].tensor(DType::kU8, Shape{group_.size(), slice_bytes_});
  if (stream_ != nullptr) {
    const int from = stream_->begin(exchange_, layer);
    group_.all_gather(exchange_, ConstTensor(stream_->slot(from), DType::kU8, Shape{slice_bytes_}), whole);
    stream_->end(exchange_, layer);
  } else {
    group_.all_gather(exchange_, slice(layer), whole);
  }
  backend_.record(exchange_, *ready_[slot]);
  ++started_;
}

int LayerGather::begin(Queue& queue, int64_t layer) {
  SEER_CHECK(begun_ % num_layers_ == layer, "layer {} was asked for, {} is next", layer,
             begun_ % num_layers_);
  if (started_ == begun_) start_gather();
  const auto slot = static_cast<int>(begun_++ % kSlots);
  backend_.wait(queue, *ready_[slot]);
  return slot;
}

void LayerGather::prefetch() {
  if (started_ == begun_) start_gather();
}

void LayerGather::end(Queue& queue, int64_t layer) {
  SEER_CHECK(ended_ < begun_ && ended_ % num_layers_ == layer, "layer {} is ended, {} is next", layer,
             ended_ % num_layers_);
  backend_.record(queue, *free_[ended_ % kSlots]);
  ++ended_;
}

}  // namespace seer
