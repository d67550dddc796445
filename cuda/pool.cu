// Pooling over blocks of tokens and over groups of heads (SEMANTICS 2 and 8): the tokens are read once, straight
// from the projection buffer, and all pools wanted leave together, in fp32.
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kThreads = 128;

struct PoolArgs {
  int64_t x_stride;
  int64_t out_stride;
  int heads, head_dim;
  int block_size;
  int pieces;  ///< Of a block
  PoolSet pools;
  const RowSpan* spans;
  unsigned column_tiles = 0;
};

/// Pooled rows of the spans before `span`: each begins a new block.
__device__ int64_t first_pooled_row(const PoolArgs& a, int span) {
  if (span == 0) return 0;
  int64_t rows = 0;
#pragma unroll 1
  for (int s = threadIdx.x; s < span; s += kThreads) {
    rows += (a.spans[s].rows + a.block_size - 1) / a.block_size * a.pieces;
  }
  return block_reduce<kThreads>(rows, Sum());
}

/// What a thread, then a block, knows of a channel. Extrema cost three instructions an element: only if wanted.
template <bool kExtrema>
struct Pooled;

template <>
struct Pooled<false> {
  float sum = 0;

  __device__ void add(float value) { sum += value; }
  __device__ void add(const Pooled& other) { sum += other.sum; }
};

template <>
struct Pooled<true> {
  float sum = 0;
  float largest = kMinusInfinity;
  float smallest = -kMinusInfinity;

  __device__ void add(float value) { add({value, value, value}); }
  __device__ void add(const Pooled& other) {
    sum += other.sum;
    largest = max_nan(largest, other.largest);
    smallest = min_nan(smallest, other.smallest);
  }
};

/// Block (piece of a block of tokens * column tiles + column tile, span): blocks that run together read neighbouring columns of
/// the same rows. A warp pools every kWarps-th row of 32 * N neighbouring channels, eight loads on their way at a
/// time; then the warps' results are put together, in order.
template <typename T, int N, bool kExtrema>
__global__ void __launch_bounds__(kThreads) pool_kernel(const T* x, float* out, PoolArgs a) {
  constexpr int kWarps = kThreads / 32;
  constexpr int kChannels = 32 * N;
  __shared__ Pooled<kExtrema> of_warp[kWarps][kChannels];
  const auto span_index = static_cast<int>(blockIdx.y);
  const RowSpan span = a.spans[span_index];
  const auto number = static_cast<int64_t>(blockIdx.x / a.column_tiles);
  if (number / a.pieces * a.block_size >= span.rows) return;
  const int size = a.block_size / a.pieces;
  const int64_t piece = min(number, (span.rows - 1) / size);  // behind the end: the last one over again
  const int channels = a.heads * a.head_dim;
  const int first = static_cast<int>(blockIdx.x % a.column_tiles) * kChannels;
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const auto count = static_cast<int>(min(static_cast<int64_t>(size), span.rows - piece * size));

  if (first + lane * N < channels) {
    const T* from = x + (span.row + piece * size) * a.x_stride + first + lane * N;
    Pooled<kExtrema> pooled[N];
#pragma unroll 8
    for (int r = warp; r < count; r += kWarps) {
      const auto values = load<T, N>(from + r * a.x_stride);
#pragma unroll
      for (int i = 0; i < N; ++i) pooled[i].add(to_float(values.values[i]));
    }
#pragma unroll
    for (int i = 0; i < N; ++i) of_warp[warp][lane * N + i] = pooled[i];
  }
  const int64_t pooled_row = first_pooled_row(a, span_index) + number;
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < kChannels && first + c < channels; c += kThreads) {
    Pooled<kExtrema> pooled = of_warp[0][c];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) pooled.add(of_warp[w][c]);
    const int head = (first + c) / a.head_dim;
    const int channel = (first + c) % a.head_dim;
    float* to =
        out + pooled_row * a.out_stride + static_cast<int64_t>(head) * a.pools.count() * a.head_dim + channel;
    const auto emit = [&](bool wanted, float value) {
      if (!wanted) return;
      *to = value;
      to += a.head_dim;
    };
    if constexpr (kExtrema) {
      emit(a.pools.max, pooled.largest);
      emit(a.pools.min, pooled.smallest);
    }
    emit(a.pools.avg, pooled.sum / static_cast<float>(count));
  }
}

__global__ void group_mean_kernel(const float* x, int64_t x_stride, float* out, int64_t out_stride,
                                  int64_t rows, int groups, int group, int channels) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t per_row = static_cast<int64_t>(groups) * channels;
  if (at >= rows * per_row) return;
  const int64_t row = at / per_row;
  const auto g = static_cast<int>(at % per_row / channels);
  const auto c = static_cast<int>(at % channels);
  const float* from = x + row * x_stride + static_cast<int64_t>(g) * group * channels + c;
  float sum = 0;
  for (int h = 0; h < group; ++h) sum += from[static_cast<int64_t>(h) * channels];
  out[row * out_stride + static_cast<int64_t>(g) * channels + c] = sum / static_cast<float>(group);
}

}  // namespace

void pool_blocks(cudaStream_t stream, ConstTensor x, const Table<RowSpan>& rows, int64_t block_size,
                 int64_t pieces, PoolSet pools, Tensor out) {
  if (rows.host.empty() || x.numel() == 0) return;
  const int64_t most_pieces = ceil_div(most_rows(rows), block_size) * pieces;
  PoolArgs args{.x_stride = x.row_stride(),
                .out_stride = out.row_stride(),
                .heads = static_cast<int>(x.dim(1)),
                .head_dim = static_cast<int>(x.dim(2)),
                .block_size = static_cast<int>(block_size),
                .pieces = static_cast<int>(pieces),
                .pools = pools,
                .spans = device_table(rows)};
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto n, auto extrema) {
      args.column_tiles = static_cast<unsigned>(ceil_div(x.row_size(), 32 * n));
      const dim3 grid(most_pieces * args.column_tiles, grid_axis(rows.host.size()));
      pool_kernel<T, n, extrema><<<grid, kThreads, 0, stream>>>(elements<T>(x), elements<float>(out), args);
    };
    const auto launch_wide = [&](auto n) {
      if (pools.max || pools.min)
        launch(n, std::true_type());
      else
        launch(n, std::false_type());
    };
    // A thread's channels must belong to one head.
    if (vectorizes<T>(x.raw(), x.dim(2), x.row_stride(), kWide<T>)) {
      launch_wide(std::integral_constant<int, kWide<T>>());
    } else {
      launch_wide(std::integral_constant<int, 1>());
    }
  });
  check_launch("pool_blocks");
}

void group_mean(cudaStream_t stream, ConstTensor x, Tensor out) {
  if (out.numel() == 0) return;
  group_mean_kernel<<<ceil_div(out.numel(), kThreads), kThreads, 0, stream>>>(
      elements<float>(x), x.row_stride(), elements<float>(out), out.row_stride(), out.rows(),
      static_cast<int>(out.dim(1)), static_cast<int>(x.dim(1) / out.dim(1)), static_cast<int>(x.dim(2)));
  check_launch("group_mean");
}

}  // namespace seer::cuda
