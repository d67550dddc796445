// Keys and values of the tokens seen so far, of all layers.
#pragma once

#include "src/model/model_config.h"
#include "src/ops/backend.h"

namespace seer {

/// One buffer; keys are kept after RoPE, in the backend's activation dtype.
class KvCache {
 public:
  KvCache(Backend& backend, const ModelConfig& model, int64_t capacity)
      : layers_(model.num_layers),
        shape_{capacity, model.num_kv_heads, model.head_dim},
        dtype_(backend.activation_dtype()),
        buffer_(backend.allocate(bytes_for(backend, model, capacity), Memory::kDevice)) {}

  static size_t bytes_for(const Backend& backend, const ModelConfig& model, int64_t capacity) {
    return static_cast<size_t>(2 * model.num_layers * capacity * model.num_kv_heads * model.head_dim) *
           size_of(backend.activation_dtype());
  }

  /// Tokens it can hold, and does hold.
  int64_t capacity() const { return shape_[0]; }
  int64_t length() const { return length_; }
  void set_length(int64_t length) {
    SEER_CHECK(length >= 0 && length <= capacity(), "{} tokens in a KV cache of {}", length, capacity());
    length_ = length;
  }

  Tensor keys(int64_t layer) const { return part(2 * layer); }        ///< [capacity, G, D]
  Tensor values(int64_t layer) const { return part(2 * layer + 1); }  ///< [capacity, G, D]

 private:
  Tensor part(int64_t number) const {
    SEER_CHECK(number >= 0 && number < 2 * layers_, "part {} of a cache of {} layers", number, layers_);
    return {
        static_cast<char*>(buffer_.data()) + number * shape_.numel() * static_cast<int64_t>(size_of(dtype_)),
        dtype_, shape_};
  }

  int64_t layers_;
  Shape shape_;
  DType dtype_;
  int64_t length_ = 0;
  Buffer buffer_;
};

}  // namespace seer
