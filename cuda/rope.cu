// RoPE (rotate-half, SEMANTICS 1): (a, b) -> (a cos - b sin, b cos + a sin) for a = x_j, b = x_{j+D/2}. Tables in
// fp32. A thread reads its pairs before it writes them, so the rotation may be in place.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 256;

struct RopeArgs {
  int64_t x_stride, out_stride;
  int64_t rows;
  int heads, half;
  const float* cos;
  const float* sin;
  float sign;
  const RowSpan* spans;
  int num_spans;
};

/// Threads (pieces of a row, rows): a row has heads * half / N pieces.
template <typename T, int N>
__global__ void rope_kernel(const T* x, T* out, RopeArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= args.rows) return;
  const RowSpan& span = span_of(args.spans, args.num_spans, row);
  if (row < span.row || row >= span.row + span.rows) return;
  const int64_t position = span.position + row - span.row;
  const int per_head = args.half / N;
  for (int piece = static_cast<int>(threadIdx.x); piece < args.heads * per_head;
       piece += static_cast<int>(blockDim.x)) {
    const int j = piece % per_head * N;
    const auto cos = load<float, N>(args.cos + position * args.half + j);
    const auto sin = load<float, N>(args.sin + position * args.half + j);
    const int64_t column = static_cast<int64_t>(piece / per_head) * 2 * args.half + j;
    const T* from = x + row * args.x_stride + column;
    T* to = out + row * args.out_stride + column;
    auto low = load<T, N>(from);
    auto high = load<T, N>(from + args.half);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float a = to_float(low.values[i]);
      const float b = to_float(high.values[i]);
      const float s = args.sign * sin.values[i];
      low.values[i] = from_float<T>(a * cos.values[i] - b * s);
      high.values[i] = from_float<T>(b * cos.values[i] + a * s);
    }
    store<T, N>(to, low);
    store<T, N>(to + args.half, high);
  }
}

}  // namespace

void rope(cudaStream_t stream, ConstTensor x, const RopeTable& table, const Table<RowSpan>& rows,
          RopeDirection direction, Tensor out) {
  if (x.numel() == 0 || rows.host.empty()) return;
  const auto half = static_cast<int>(x.dim(2) / 2);
  if (half == 0) return;
  const RopeArgs args{.x_stride = x.row_stride(),
                      .out_stride = out.row_stride(),
                      .rows = x.rows(),
                      .heads = static_cast<int>(x.dim(1)),
                      .half = half,
                      .cos = elements<float>(table.cos),
                      .sin = elements<float>(table.sin),
                      .sign = direction == RopeDirection::kForward ? 1.0F : -1.0F,
                      .spans = device_table(rows),
                      .num_spans = static_cast<int>(rows.host.size())};
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto n) {
      const int pieces = args.heads * half / n;
      dim3 threads(32, 1);
      while (threads.x < kThreads && static_cast<int>(threads.x) < pieces) threads.x *= 2;
      threads.y = kThreads / threads.x;
      rope_kernel<T, n>
          <<<ceil_div(args.rows, threads.y), threads, 0, stream>>>(elements<T>(x), elements<T>(out), args);
    };
    if (vectorizes<T>(x.raw(), half, x.row_stride(), kWide<T>) &&
        vectorizes<T>(out.raw(), half, out.row_stride(), kWide<T>) &&
        vectorizes<float>(args.cos, half, half, kWide<T>) &&
        vectorizes<float>(args.sin, half, half, kWide<T>)) {
      launch(std::integral_constant<int, kWide<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
  check_launch("rope");
}

}  // namespace seer::cuda
