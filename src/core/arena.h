// Bump allocator for what lives only while one layer is computed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "src/core/buffer.h"

namespace seer {

/// Hands out pieces of one buffer, in order, until reset(). It moves a pointer on the host: pieces may be
/// reused as soon as it is reset, so everything taken from it belongs to ONE queue, whose order makes the
/// reuse safe.
///
/// A measuring arena has no memory: it hands out addresses that must not be touched and remembers how much it
/// would have needed. Running the sweep through it (with a backend that computes nothing) plans the real one.
class Arena {
 public:
  static constexpr size_t kAlignment = 256;

  explicit Arena(Buffer buffer) : buffer_(std::move(buffer)), capacity_(buffer_.bytes()) {}
  static Arena measuring() { return Arena(); }

  Arena(Arena&&) = default;
  Arena& operator=(Arena&&) = default;

  /// Uninitialised memory for a dense tensor. Throws if the arena was planned too small.
  Tensor tensor(DType dtype, const Shape& shape) {
    const size_t bytes = shape.numel() * size_of(dtype);
    const size_t begin = used_;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    peak_ = std::max(peak_, used_);
    SEER_CHECK(used_ <= capacity_, "the layer arena of {} bytes is too small for {} more", capacity_, bytes);
    auto* base =
        buffer_.data() != nullptr ? static_cast<char*>(buffer_.data()) : reinterpret_cast<char*>(kAlignment);
    return {base + begin, dtype, shape};
  }

  Tensor bytes(size_t count) { return tensor(DType::kU8, Shape{static_cast<int64_t>(count)}); }

  void reset() { used_ = 0; }
  /// The most that was ever in use.
  size_t peak() const { return peak_; }

  /// Gives back, at the end of a block, what was taken inside it.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), used_(arena.used_) {}
    ~Scope() { arena_.used_ = used_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t used_;
  };

 private:
  Arena() : capacity_(SIZE_MAX) {}

  Buffer buffer_;
  size_t capacity_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace seer
