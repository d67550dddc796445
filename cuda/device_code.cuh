// What every kernel uses: conversions, 16-byte accesses, reductions in a fixed order.
#pragma once

#include <cstdint>
#include <type_traits>

#include <cuda_bf16.h>

#include "src/core/tensor.h"

namespace seer::cuda {

using bf16 = __nv_bfloat16;

constexpr float kMinusInfinity = -__builtin_huge_valf();
constexpr unsigned kWholeWarp = 0xFFFFFFFFU;  ///< Lanes

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(bf16 x) {
  return __bfloat162float(x);
}

template <typename T>
__device__ T from_float(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return __float2bfloat16_rn(x);
}

/// N consecutive elements that are loaded and stored at once.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
  T values[N];
};

template <typename T, int N>
__device__ Vector<T, N> load(const T* from) {
  return *reinterpret_cast<const Vector<T, N>*>(from);
}
template <typename T, int N>
__device__ void store(T* to, const Vector<T, N>& vector) {
  *reinterpret_cast<Vector<T, N>*>(to) = vector;
}

/// The same pointer; what it was made of is hidden from ptxas, which would work it out again at every use.
template <typename T>
__device__ T* kept_pointer(T* pointer) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+l"(pointer));
#endif
  return pointer;
}

/// Larger of two numbers, NaN if one of them is: what is not finite must reach the watch.
__device__ inline float max_nan(float a, float b) {
  float out;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(out) : "f"(a), "f"(b));
  return out;
}
__device__ inline float min_nan(float a, float b) {
  float out;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(out) : "f"(a), "f"(b));
  return out;
}

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct MaxNan {
  __device__ float operator()(float a, float b) const { return max_nan(a, b); }
};

/// Combines the values of a warp; every lane gets the result.
template <typename T, typename Op>
__device__ T warp_reduce(T value, Op op) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value = op(value, __shfl_xor_sync(0xffffffff, value, lanes));
  return value;
}

/// Combines the values of a block of kThreads threads, in an order that depends on kThreads alone; every thread
/// gets the result.
template <int kThreads, typename T, typename Op>
__device__ T block_reduce(T value, Op op) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  value = warp_reduce(value, op);
  if constexpr (kThreads == 32) return value;
  __shared__ T partial[kThreads / 32];
  __syncthreads();  // the last call's partial results have been read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  value = partial[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) value = op(value, partial[warp]);
  return value;
}

/// The span of `spans` that holds `row`. Spans ascend; rows between them belong to the one before.
template <typename Span>
__device__ const Span& span_of(const Span* spans, int count, int64_t row) {
  int low = 0;
  int high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (spans[middle].row <= row)
      low = middle;
    else
      high = middle;
  }
  return spans[low];
}

template <typename T>
constexpr DType dtype_of_device() {
  if constexpr (std::is_same_v<T, bf16>)
    return DType::kBF16;
  else
    return dtype_of<T>();
}

/// Pointer to the elements of a tensor whose dtype has been dispatched on.
template <typename T>
const T* elements(ConstTensor x) {
  SEER_CHECK(x.dtype() == dtype_of_device<T>(), "{}", name_of(x.dtype()));
  return static_cast<const T*>(x.raw());
}
template <typename T>
T* elements(const Tensor& x) {
  SEER_CHECK(x.dtype() == dtype_of_device<T>(), "{}", name_of(x.dtype()));
  return static_cast<T*>(x.raw());
}

/// Calls function(float{}) or function(bf16{}); anything else is refused.
template <typename Function>
void dispatch(DType dtype, Function&& function) {
  if (dtype == DType::kF32) return function(float{});
  if (dtype == DType::kBF16) return function(bf16{});
  fail("the CUDA backend computes in F32 and BF16, not {}", name_of(dtype));
}

/// Whether rows of `size` elements, `stride` apart, can be accessed N elements at a time.
template <typename T>
bool vectorizes(const void* data, int64_t size, int64_t stride, int n) {
  return reinterpret_cast<uintptr_t>(data) % (n * sizeof(T)) == 0 && size % n == 0 && stride % n == 0;
}

/// Elements of T in 16 bytes.
template <typename T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

}  // namespace seer::cuda
