#include "trainer/gradient_sum.h"

#include <algorithm>

#include "src/core/ceil_div.h"
#include "src/core/tree_order.h"

namespace seer {

GradientSum::GradientSum(Backend& backend, const RankGroups& ranks, std::span<const GateTraining> gates,
                         int64_t micro_batches, int64_t bytes_together)
    : world_(ranks.world.get()),
      exchange_(ranks.exchange.get()),
      micro_batches_(micro_batches),
      depth_(gates.size()),
      computed_(backend.make_event()),
      reduced_(backend.make_event()) {
  constexpr int64_t kAlignment = 64;  // elements: slices of whole cache lines
  int64_t layer_bytes = 0;
  for (const GateTraining& gate : gates)
    layer_bytes += GateParams::layer_size(gate.config()) * static_cast<int64_t>(sizeof(float));
  if (layer_bytes > 0) {
    layers_together_ =
        std::clamp<int64_t>(bytes_together / layer_bytes, 1, gates.front().params().num_layers());
  }
  const auto floats = [&](int64_t count) { return backend.allocate(count * sizeof(float), Memory::kDevice); };
  for (const GateTraining& gate : gates) {
    Sums& sums = sums_.emplace_back();
    sums.size = GateParams::layer_size(gate.config());
    if (micro_batches > 1) sums.waiting = floats(tree_depth(micro_batches) * sums.size);
    if (world_ == nullptr) continue;
    const int64_t ranks_count = world_->size();
    sums.slice = ceil_div(ceil_div(layers_together_ * sums.size, ranks_count), kAlignment) * kAlignment;
    sums.slices = floats(ranks_count * sums.slice);
    sums.received = floats(ranks_count * sums.slice);
    sums.total = floats(sums.slice);
  }
}

GateTensors GradientSum::begin(Backend& backend, Queue& queue, GateTraining& gate, int64_t g, int64_t layer,
                               int64_t m) {
  Tensor leaf = gate.params().layer_gradients(layer);
  if (micro_batches_ > 1) {
    if (m == 0) depth_[g] = 0;
    const Sums& sums = sums_[g];
    leaf = sums.waiting.tensor(DType::kF32, Shape{tree_depth(micro_batches_), sums.size})
               .slice_rows(depth_[g]++, 1)
               .reshape(Shape{sums.size});
  }
  backend.fill_zero(queue, leaf);
  return gate_tensors(gate.config(), leaf);
}

void GradientSum::end(Backend& backend, Queue& queue, GateTraining& gate, int64_t g, int64_t layer,
                      int64_t m) {
  if (micro_batches_ == 1) return;
  const Sums& sums = sums_[g];
  const Tensor waiting = sums.waiting.tensor(DType::kF32, Shape{tree_depth(micro_batches_), sums.size});
  int& depth = depth_[g];
  for (int merges = tree_merges(m, micro_batches_); merges > 0; --merges) {
    --depth;
    const bool last = m + 1 == micro_batches_ && depth == 1;
    const Tensor out = last ? gate.params().layer_gradients(layer)
                            : waiting.slice_rows(depth - 1, 1).reshape(Shape{sums.size});
    backend.sum_parts(queue, waiting.slice_rows(depth - 1, 2), out);
  }
}

void GradientSum::reduce(Backend& backend, Queue& queue, std::span<GateTraining> gates, int64_t layer) {
  if (world_ == nullptr || gates.empty()) return;
  if (layer == 0) first_waiting_ = 0;
  const int64_t layers = gates.front().params().num_layers();
  const int64_t waiting = layer + 1 - first_waiting_;
  if (waiting < layers_together_ && layer + 1 < layers) return;
  backend.record(queue, *computed_);
  backend.wait(*exchange_, *computed_);
  for (size_t g = 0; g < gates.size(); ++g) {
    const int64_t size = sums_[g].size;
    sum_over_ranks(backend, sums_[g],
                   gates[g].params().flat_gradients().slice_rows(first_waiting_ * size, waiting * size));
  }
  first_waiting_ = layer + 1;
}

/// `gradients`: of consecutive layers.
void GradientSum::sum_over_ranks(Backend& backend, const Sums& sums, Tensor gradients) {
  const int64_t ranks = world_->size();
  const Tensor slices = sums.slices.tensor(DType::kF32, Shape{ranks, sums.slice});
  const Tensor received = sums.received.tensor(DType::kF32, Shape{ranks, sums.slice});
  const Tensor total = sums.total.tensor(DType::kF32, Shape{sums.slice});
  // What lies behind the gradients is exchanged for nothing.
  const Tensor cut = slices.reshape(Shape{ranks * sums.slice}).slice_rows(0, gradients.numel());
  backend.copy(*exchange_, gradients, cut);
  world_->all_to_all(*exchange_, slices, received);
  backend.sum_parts(*exchange_, received, total);
  world_->all_gather(*exchange_, total, slices);
  backend.copy(*exchange_, cut, gradients);
}

void GradientSum::finish(Backend& backend, Queue& queue) {
  if (world_ == nullptr) return;
  backend.record(*exchange_, *reduced_);
  backend.wait(queue, *reduced_);
}

size_t GradientSum::device_bytes() const {
  size_t bytes = 0;
  for (const Sums& sums : sums_) {
    bytes += sums.waiting.bytes() + sums.slices.bytes() + sums.received.bytes() + sums.total.bytes();
  }
  return bytes;
}

}  // namespace seer
