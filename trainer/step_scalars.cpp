#include "trainer/step_scalars.h"

namespace seer {

StepScalars::StepScalars(Backend& backend, const RankPlace& place, int64_t layers, int64_t heads,
                         int64_t gates, const std::vector<double>& densities, int64_t micro_batches)
    : place_(place),
      ranks_(place.size),
      layers_(layers),
      heads_(heads),
      gates_(gates),
      densities_(static_cast<int64_t>(densities.size())),
      micro_batches_(micro_batches),
      flags_((1 + gates) * layers),
      gate_size_(layers * heads * (1 + 2 * densities_)),
      batch_size_(gates * gate_size_) {
  const auto doubles = [&](int64_t count, Memory memory) {
    return backend.allocate(count * sizeof(double), memory);
  };
  for (const Memory memory : {Memory::kDevice, Memory::kHostPinned}) {
    const bool device = memory == Memory::kDevice;
    (device ? all_flags_ : host_flags_) = doubles(ranks_ * flags_, memory);
    (device ? all_values_ : host_values_) = doubles(ranks_ * micro_batches * batch_size_, memory);
    (device ? norms_ : host_norms_) = doubles(gates, memory);
  }
  for (int64_t m = 0; m < micro_batches; ++m) {
    for (int64_t gate = 0; gate < gates; ++gate) {
      for (int64_t layer = 0; layer < layers; ++layer) {
        for (int64_t d = 0; d < densities_; ++d) {
          recalls_.push_back({densities[d], slots(m, recall_offset(gate, layer, d, false)),
                              slots(m, recall_offset(gate, layer, d, true))});
        }
      }
    }
  }
}

Tensor StepScalars::own(const Buffer& all, int64_t size) const {
  return all.tensor(DType::kF64, Shape{ranks_, size}).slice_rows(place_.rank, 1).reshape(Shape{size});
}

Tensor StepScalars::slots(int64_t micro_batch, int64_t offset) const {
  return own(all_values_, micro_batches_ * batch_size_)
      .slice_rows(micro_batch * batch_size_ + offset, heads_);
}

int64_t StepScalars::recall_offset(int64_t gate, int64_t layer, int64_t density, bool oracle) const {
  const int64_t pair = (layer * densities_ + density) * 2 + (oracle ? 1 : 0);
  return gate * gate_size_ + layers_ * heads_ + pair * heads_;
}

Tensor StepScalars::losses(int64_t micro_batch, int64_t gate, int64_t layer) const {
  return slots(micro_batch, losses_offset(gate, layer));
}

std::span<const RecallSlots> StepScalars::recalls(int64_t micro_batch, int64_t gate, int64_t layer) const {
  const int64_t first = ((micro_batch * gates_ + gate) * layers_ + layer) * densities_;
  return {recalls_.data() + first, static_cast<size_t>(densities_)};
}

void StepScalars::zero(Backend& backend, Queue& queue) const {
  backend.fill_zero(queue, own(all_flags_, flags_));
  backend.fill_zero(queue, own(all_values_, micro_batches_ * batch_size_));
  backend.fill_zero(queue, norms_.tensor(DType::kF64, Shape{gates_}));
}

void StepScalars::gather(Queue& queue, Communicator& world) {
  const int64_t values = micro_batches_ * batch_size_;
  world.all_gather(queue, own(all_flags_, flags_), all_flags_.tensor(DType::kF64, Shape{ranks_, flags_}));
  world.all_gather(queue, own(all_values_, values), all_values_.tensor(DType::kF64, Shape{ranks_, values}));
}

void StepScalars::download(Backend& backend, Queue& queue) {
  const auto copy = [&](const Buffer& from, const Buffer& to, int64_t count) {
    backend.copy(queue, from.tensor(DType::kF64, Shape{count}), to.tensor(DType::kF64, Shape{count}));
  };
  copy(all_flags_, host_flags_, ranks_ * flags_);
  copy(all_values_, host_values_, ranks_ * micro_batches_ * batch_size_);
  copy(norms_, host_norms_, gates_);
}

bool StepScalars::host_flag(int64_t number) const {
  for (int64_t r = 0; r < ranks_; ++r) {
    if (host(host_flags_)[r * flags_ + number] != 0.0) return true;
  }
  return false;
}

double StepScalars::sum(int64_t sequence, int64_t offset) const {
  const int64_t first_rank = sequence / micro_batches_ * place_.context;
  const int64_t m = sequence % micro_batches_;
  double total = 0;
  for (int64_t head = 0; head < heads_; ++head) {
    for (int64_t c = 0; c < place_.context; ++c) {
      total += host(host_values_)[((first_rank + c) * micro_batches_ + m) * batch_size_ + offset + head];
    }
  }
  return total;
}

}  // namespace seer
