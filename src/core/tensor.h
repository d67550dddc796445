// A non-owning view of a dense array that carries its dtype and checks it on access.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "src/core/dtype.h"
#include "src/core/error.h"

namespace seer {

/// The dtype of a C++ element type, for typed access to tensors.
template <typename T>
constexpr DType dtype_of() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, double>)
    return DType::kF64;
  else if constexpr (std::is_same_v<U, float>)
    return DType::kF32;
  else if constexpr (std::is_same_v<U, int64_t>)
    return DType::kI64;
  else if constexpr (std::is_same_v<U, int32_t>)
    return DType::kI32;
  else if constexpr (std::is_same_v<U, uint8_t>)
    return DType::kU8;
  else
    static_assert(!sizeof(U), "no DType stands for this C++ type");
}

/// Up to four extents; unused ones are 1.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return extents_[axis]; }
  int64_t numel() const { return extents_[0] * extents_[1] * extents_[2] * extents_[3]; }
  bool operator==(const Shape&) const = default;

 private:
  std::array<int64_t, kMaxRank> extents_{1, 1, 1, 1};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);

/// View of an array [d0, d1, ...], dense except that rows (the first axis) may lie `row_stride` elements
/// apart: q, k and v are such views into one projection buffer. Void is `void`, or `const void` for frozen
/// data.
template <typename Void>
class BasicTensor {
 public:
  BasicTensor() = default;
  BasicTensor(Void* data, DType dtype, const Shape& shape)
      : data_(data), dtype_(dtype), shape_(shape), row_stride_(shape[1] * shape[2] * shape[3]) {}
  BasicTensor(Void* data, DType dtype, const Shape& shape, int64_t row_stride)
      : data_(data), dtype_(dtype), shape_(shape), row_stride_(row_stride) {}

  /// A mutable view converts to a const one.
  template <typename Other>
  requires(std::is_const_v<Void>&& std::is_same_v<Other, void>)
      BasicTensor(const BasicTensor<Other>& other)  // NOLINT(google-explicit-constructor)
      : data_(other.raw()), dtype_(other.dtype()), shape_(other.shape()), row_stride_(other.row_stride()) {}

  Void* raw() const { return data_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t numel() const { return shape_.numel(); }
  int64_t rows() const { return shape_[0]; }
  /// Elements in one row, and between the starts of two rows.
  int64_t row_size() const { return shape_[1] * shape_[2] * shape_[3]; }
  int64_t row_stride() const { return row_stride_; }
  bool contiguous() const { return row_stride_ == row_size() || rows() <= 1; }
  bool empty() const { return data_ == nullptr; }

  /// Typed pointer to the first element; throws if T is not the dtype.
  template <typename T>
  auto data() const {
    SEER_CHECK(dtype_ == dtype_of<T>(), "tensor of {} read as {}", name_of(dtype_), name_of(dtype_of<T>()));
    using Element = std::conditional_t<std::is_const_v<Void>, const T, T>;
    return static_cast<Element*>(data_);
  }

  /// Rows [begin, begin + count).
  BasicTensor slice_rows(int64_t begin, int64_t count) const {
    SEER_CHECK(begin >= 0 && count >= 0 && begin + count <= rows(), "rows {}+{} of {}", begin, count, rows());
    using Byte = std::conditional_t<std::is_const_v<Void>, const char, char>;
    auto* start = static_cast<Byte*>(data_) + begin * row_stride_ * static_cast<int64_t>(size_of(dtype_));
    Shape shape = shape_.rank() == 1   ? Shape{count}
                  : shape_.rank() == 2 ? Shape{count, shape_[1]}
                  : shape_.rank() == 3 ? Shape{count, shape_[1], shape_[2]}
                                       : Shape{count, shape_[1], shape_[2], shape_[3]};
    return BasicTensor(start, dtype_, shape, row_stride_);
  }

  /// The same elements under another shape: any with the same numel if contiguous, else one with the same
  /// rows.
  BasicTensor reshape(const Shape& shape) const {
    SEER_CHECK(shape.numel() == numel() && (contiguous() || shape[0] == rows()), "{} as {}",
               to_string(shape_), to_string(shape));
    if (contiguous()) return BasicTensor(data_, dtype_, shape);
    return BasicTensor(data_, dtype_, shape, row_stride_);
  }

 private:
  Void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_;
  int64_t row_stride_ = 0;
};

using Tensor = BasicTensor<void>;
using ConstTensor = BasicTensor<const void>;

}  // namespace seer
