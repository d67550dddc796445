// Inside FrozenWeights: the tensors of a model one by one, where they go, and how they get there. For weights.cpp and
// random_weights.cpp alone.
#pragma once

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "src/model/weights.h"

namespace seer {

/// One tensor of a model: what files call it, what it must be, and the view that stands for it.
struct FrozenWeights::Slot {
  std::string name;
  Shape shape;
  bool is_norm;
  bool stacked;  ///< Belongs right behind the slot before
  ConstTensor* view;

  DType dtype(const Backend& backend, DType stored) const {
    return is_norm ? backend.activation_dtype() : backend.weight_dtype(stored);
  }
};

/// Where the tensors of a group go in one buffer: parts of a stack lie one behind the other, all else is aligned.
class FrozenWeights::Placement {
 public:
  /// The offset of the next tensor.
  size_t add(const Slot& slot, DType dtype) {
    constexpr size_t kAlignment = 256;
    const size_t offset = slot.stacked ? bytes_ : (bytes_ + kAlignment - 1) / kAlignment * kAlignment;
    bytes_ = offset + slot.shape.numel() * size_of(dtype);
    return offset;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

/// Copies host tensors to the backend through two pinned buffers in turn, converting on the way.
class FrozenWeights::Uploader {
 public:
  Uploader(Backend& backend, Queue& queue) : backend_(backend), queue_(queue) {}
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  /// Copies under way read the stages; a failure of theirs is finish()'s to report.
  ~Uploader() {
    try {
      finish();
    } catch (const Error&) {
    }
  }

  void upload(const std::byte* from, DType stored, const Tensor& to) {
    const auto element = static_cast<int64_t>(size_of(to.dtype()));
    const int64_t step = static_cast<int64_t>(kStageBytes) / element;
    auto* device = static_cast<char*>(to.raw());
    for (int64_t begin = 0; begin < to.numel(); begin += step) {
      const int64_t count = std::min(step, to.numel() - begin);
      const std::byte* source = from + begin * static_cast<int64_t>(size_of(stored));
      Stage& stage = next_stage(count * element);
      if (stored == to.dtype()) {
        std::memcpy(stage.host.data(), source, count * element);
      } else {
        wide_.resize(count);
        convert_to_f32(source, stored, count, wide_.data());
        convert_from_f32(wide_.data(), count, to.dtype(), stage.host.data());
      }
      backend_.copy(queue_, ConstTensor(stage.host.data(), to.dtype(), Shape{count}),
                    Tensor(device + begin * element, to.dtype(), Shape{count}));
      backend_.record(queue_, *stage.copied);
    }
  }

  /// Waits until everything has arrived.
  void finish() { backend_.synchronize(queue_); }

 private:
  static constexpr size_t kStageBytes = size_t{32} << 20;

  struct Stage {
    Buffer host;
    std::unique_ptr<Event> copied;
  };

  Stage& next_stage(size_t bytes) {
    Stage& stage = stages_[turn_++ % stages_.size()];
    if (stage.copied == nullptr) {
      stage.copied = backend_.make_event();
    } else {
      backend_.synchronize(*stage.copied);
    }
    if (stage.host.bytes() < bytes) stage.host = backend_.allocate(bytes, Memory::kHostPinned);
    return stage;
  }

  Backend& backend_;
  Queue& queue_;
  std::array<Stage, 2> stages_;
  size_t turn_ = 0;
  std::vector<float> wide_;
};

}  // namespace seer
