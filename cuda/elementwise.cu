// Embedding gather, SwiGLU, copies and the not-finite watch: bound by memory bandwidth, so 16 bytes a thread.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int N>
__global__ void embed_kernel(const int32_t* ids, const T* table, int64_t vocabulary, int64_t channels, T* out,
                             int64_t out_stride, DeviceFault* fault) {
  const int64_t row = blockIdx.x;
  const int32_t id = ids[row];
  const bool known = id >= 0 && id < vocabulary;
  // The queue's next synchronisation throws; which of several bad ids it names does not matter. What runs until
  // then meets NaN: no optimiser step is taken on it.
  if (!known && threadIdx.x == 0) *fault = {DeviceFault::kByEmbedding, id, row, vocabulary};
  Vector<T, N> nan;
#pragma unroll
  for (int i = 0; i < N; ++i) nan.values[i] = from_float<T>(__int_as_float(0x7fffffff));
  for (int64_t c = static_cast<int64_t>(threadIdx.x) * N; c < channels; c += kThreads * N) {
    store<T, N>(out + row * out_stride + c, known ? load<T, N>(table + id * channels + c) : nan);
  }
}

template <typename T, int N>
__global__ void swiglu_kernel(const T* gate_up, int64_t stride, int64_t rows, int64_t inner, T* out,
                              int64_t out_stride) {
  const int64_t vectors = inner / N;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= rows * vectors) return;
  const int64_t row = at / vectors;
  const int64_t column = at % vectors * N;
  const auto gate = load<T, N>(gate_up + row * stride + column);
  const auto up = load<T, N>(gate_up + row * stride + inner + column);
  Vector<T, N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float g = to_float(gate.values[i]);
    result.values[i] = from_float<T>(g / (1.0F + __expf(-g)) * to_float(up.values[i]));
  }
  store<T, N>(out + row * out_stride + column, result);
}

/// Threads (pieces of a row, rows). A thread has four loads on their way at a time: of four rows, or of the only one.
/// Every bad thread writes the same value, so their race decides nothing.
template <typename T, int N>
__global__ void flag_not_finite_kernel(const T* x, int64_t stride, int64_t rows, int64_t row_size,
                                       double* slot) {
  constexpr int kLoads = 4;
  const int64_t width = static_cast<int64_t>(gridDim.x) * kThreads * N;
  const int64_t row_step = rows > 1 ? gridDim.y : 0;
  const int64_t column_step = rows > 1 ? 0 : width;
  bool bad = false;
  for (int64_t row = blockIdx.y; row<rows; row += rows> 1 ? kLoads * row_step : 1) {
    for (int64_t c = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
         c<row_size; c += rows> 1 ? width : kLoads * column_step) {
      Vector<T, N> values[kLoads] = {};
#pragma unroll
      for (int n = 0; n < kLoads; ++n) {
        const int64_t r = row + n * row_step;
        const int64_t column = c + n * column_step;
        if (r < rows && column < row_size) values[n] = load<T, N>(x + r * stride + column);
      }
#pragma unroll
      for (const Vector<T, N>& vector : values) {
#pragma unroll
        for (int i = 0; i < N; ++i) bad |= !isfinite(to_float(vector.values[i]));
      }
    }
  }
  if (bad) *slot = 1.0;
}

/// Calls function(std::integral_constant<int, N>) with the widest access that fits.
template <typename T, typename Function>
void dispatch_width(bool wide, Function&& function) {
  if (wide)
    function(std::integral_constant<int, kWide<T>>());
  else
    function(std::integral_constant<int, 1>());
}

}  // namespace

void embed(cudaStream_t stream, ConstTensor ids, ConstTensor table, Tensor out, DeviceFault* fault) {
  if (out.rows() == 0) return;
  dispatch(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t channels = out.dim(1);
    const bool wide = vectorizes<T>(table.raw(), channels, channels, kWide<T>) &&
                      vectorizes<T>(out.raw(), channels, out.row_stride(), kWide<T>);
    dispatch_width<T>(wide, [&](auto n) {
      embed_kernel<T, n><<<out.rows(), kThreads, 0, stream>>>(elements<int32_t>(ids), elements<T>(table),
                                                              table.rows(), channels, elements<T>(out),
                                                              out.row_stride(), fault);
    });
  });
  check_launch("embed");
}

void swiglu(cudaStream_t stream, ConstTensor gate_up, Tensor out) {
  if (out.numel() == 0) return;
  dispatch(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t inner = out.dim(1);
    const bool wide = vectorizes<T>(gate_up.raw(), inner, gate_up.row_stride(), kWide<T>) &&
                      vectorizes<T>(out.raw(), inner, out.row_stride(), kWide<T>);
    dispatch_width<T>(wide, [&](auto n) {
      const int64_t blocks = ceil_div(out.rows() * (inner / n), kThreads);
      swiglu_kernel<T, n><<<blocks, kThreads, 0, stream>>>(
          elements<T>(gate_up), gate_up.row_stride(), out.rows(), inner, elements<T>(out), out.row_stride());
    });
  });
  check_launch("swiglu");
}

void copy(cudaStream_t stream, ConstTensor from, Tensor to) {
  if (from.numel() == 0) return;
  const size_t element = size_of(from.dtype());
  const size_t row_bytes = from.row_size() * element;
  if (from.contiguous() && to.contiguous()) {
    check(cudaMemcpyAsync(to.raw(), from.raw(), row_bytes * from.rows(), cudaMemcpyDefault, stream),
          "cudaMemcpyAsync");
    return;
  }
  check(cudaMemcpy2DAsync(to.raw(), to.row_stride() * element, from.raw(), from.row_stride() * element,
                          row_bytes, from.rows(), cudaMemcpyDefault, stream),
        "cudaMemcpy2DAsync");
}

void fill_zero(cudaStream_t stream, Tensor x) {
  if (x.numel() == 0) return;
  const size_t element = size_of(x.dtype());
  const size_t row_bytes = x.row_size() * element;
  if (x.contiguous()) {
    check(cudaMemsetAsync(x.raw(), 0, row_bytes * x.rows(), stream), "cudaMemsetAsync");
    return;
  }
  check(cudaMemset2DAsync(x.raw(), x.row_stride() * element, 0, row_bytes, x.rows(), stream),
        "cudaMemset2DAsync");
}

void flag_not_finite(cudaStream_t stream, ConstTensor x, Tensor slot) {
  if (x.numel() == 0) return;
  // A dense tensor is one long row.
  const int64_t rows = x.contiguous() ? 1 : x.rows();
  const int64_t row_size = x.numel() / rows;
  const int64_t stride = x.contiguous() ? row_size : x.row_stride();
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    dispatch_width<T>(vectorizes<T>(x.raw(), row_size, stride, kWide<T>), [&](auto n) {
      constexpr int64_t kBlocks = 2048;
      const int64_t columns = std::min(kBlocks, ceil_div(row_size / n, kThreads));
      const dim3 grid(columns, std::min(rows, ceil_div(kBlocks, columns)));
      flag_not_finite_kernel<T, n>
          <<<grid, kThreads, 0, stream>>>(elements<T>(x), stride, rows, row_size, elements<double>(slot));
    });
  });
  check_launch("flag_not_finite");
}

}  // namespace seer::cuda
