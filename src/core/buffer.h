// Move-only owner of a block of memory that some backend allocated.
#pragma once

#include <cstddef>
#include <utility>

#include "src/core/tensor.h"

namespace seer {

class Buffer {
 public:
  using Release = void (*)(void* data, size_t bytes);

  Buffer() = default;
  Buffer(void* data, size_t bytes, Release release) : data_(data), bytes_(bytes), release_(release) {}
  ~Buffer() {
    if (data_ != nullptr) release_(data_, bytes_);
  }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        release_(other.release_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  /// The first elements of the buffer as a tensor; throws if they do not fit.
  Tensor tensor(DType dtype, const Shape& shape) const {
    SEER_CHECK(shape.numel() * size_of(dtype) <= bytes_, "{} {} in a buffer of {} bytes", name_of(dtype),
               to_string(shape), bytes_);
    return {data_, dtype, shape};
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Release release_ = nullptr;
};

}  // namespace seer
