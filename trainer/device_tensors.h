// Device memory for a measurement: tensors that live as long as their owner. The sweep takes its own from an arena.
#pragma once

#include <vector>

#include "src/core/buffer.h"
#include "src/ops/backend.h"

namespace seer {

class DeviceTensors {
 public:
  /// `backend` must outlive it.
  explicit DeviceTensors(Backend& backend) : backend_(backend) {}

  /// Uninitialised.
  Tensor make(DType dtype, const Shape& shape) {
    buffers_.push_back(backend_.allocate(shape.numel() * size_of(dtype), Memory::kDevice));
    return buffers_.back().tensor(dtype, shape);
  }
  void clear() { buffers_.clear(); }

 private:
  Backend& backend_;
  std::vector<Buffer> buffers_;
};

}  // namespace seer
