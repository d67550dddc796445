// Eigen views of tensors and the dispatch on their element type.
#pragma once

#include <Eigen/Core>
#include <utility>

#include "src/core/ceil_div.h"
#include "src/core/tensor.h"

namespace seer::cpu {

template <typename T>
using RowMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <typename T>
using RowMap = Eigen::Map<RowMatrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <typename T>
using ConstRowMap = Eigen::Map<const RowMatrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// rows x columns, row-major, rows `stride` elements apart.
template <typename T>
ConstRowMap<T> view(const T* data, int64_t rows, int64_t columns, int64_t stride) {
  return {data, rows, columns, Eigen::OuterStride<>(stride)};
}
template <typename T>
RowMap<T> view(T* data, int64_t rows, int64_t columns, int64_t stride) {
  return {data, rows, columns, Eigen::OuterStride<>(stride)};
}

/// Elements between what two workers use of one scratch memory. Eigen peels loops by address, and all workers must
/// compute the same bits.
constexpr int64_t scratch_stride(int64_t elements) {
  return ceil_div(elements, 16) * 16;
}

/// Calls function(float{}) or function(double{}) by dtype; anything else is refused.
template <typename Function>
void dispatch(DType dtype, Function&& function) {
  if (dtype == DType::kF32) return std::forward<Function>(function)(float{});
  if (dtype == DType::kF64) return std::forward<Function>(function)(double{});
  fail("the CPU backend computes in F32 (gate operations also in F64), not {}", name_of(dtype));
}

}  // namespace seer::cpu
