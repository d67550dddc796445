// The reference of sparse attention: plain fp32 arithmetic, any head_dim up to 256 and any block size, made to be read. One block
// computes 32 query rows of one query block and head against the keys of that block's list; the online softmax is that
// of fp32.cu.
//
// Shared memory: q, k and v tiles [32][D + 1], weights [32][33]: 103 KB at D 256.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kRows = 32;  ///< Of queries, and of keys, in a tile
constexpr int kThreads = 256;
constexpr int kMaxHeadDim = 256;
constexpr int kOutputsPerThread = kRows * kMaxHeadDim / kThreads;

struct SparseFp32Args {
  const float* q;
  const float* k;
  const float* v;
  float* o;
  int64_t q_stride, k_stride, v_stride, o_stride;
  int head_dim, group, head_begin;
  int64_t head_count;
  float scale;
  const Segment* segments;
  const ScoreSegment* matrices;
  const int32_t* counts;
  const int32_t* blocks;
  int64_t block_rows;
  int64_t block_size;
  int64_t tiles_per_block;
};

/// Loads rows [first, end) of one head, at most kRows, zeros after them.
__device__ void load_tile(const float* from, int64_t stride, int64_t first, int64_t end, int head_dim,
                          float* tile) {
  for (int at = static_cast<int>(threadIdx.x); at < kRows * head_dim; at += kThreads) {
    const int r = at / head_dim;
    const int c = at % head_dim;
    tile[r * (head_dim + 1) + c] = first + r < end ? from[(first + r) * stride + c] : 0.0F;
  }
}

/// Block (tile of a query block, head, segment).
__global__ void __launch_bounds__(kThreads) sparse_attention_fp32_kernel(SparseFp32Args a) {
  extern __shared__ float shared[];
  const Segment& segment = a.segments[blockIdx.z];
  const ScoreSegment& matrix = a.matrices[blockIdx.z];
  const int64_t block = static_cast<int64_t>(blockIdx.x) / a.tiles_per_block;
  const int64_t begin = block * a.block_size + static_cast<int64_t>(blockIdx.x) % a.tiles_per_block * kRows;
  const int64_t end = min(min(begin + kRows, (block + 1) * a.block_size), segment.queries.rows);
  if (begin >= end) return;
  const int head = a.head_begin + static_cast<int>(blockIdx.y);
  const int64_t query_column = static_cast<int64_t>(head) * a.head_dim;
  const int64_t key_column = static_cast<int64_t>(head / a.group) * a.head_dim;
  const int32_t count = a.counts[blockIdx.y * a.block_rows + matrix.queries.row + block];
  const int32_t* list =
      a.blocks + matrix.matrix * a.head_count + (blockIdx.y * matrix.queries.rows + block) * matrix.blocks;

  const int width = a.head_dim + 1;
  float* q = shared;
  float* k = q + kRows * width;
  float* v = k + kRows * width;
  float* p = v + kRows * width;  // [kRows][kRows + 1]
  __shared__ float row_max[kRows];
  __shared__ float row_sum[kRows];
  __shared__ float row_factor[kRows];
  load_tile(a.q + segment.queries.row * a.q_stride + query_column, a.q_stride, begin, end, a.head_dim, q);
  if (threadIdx.x < kRows) {
    row_max[threadIdx.x] = kMinusInfinity;
    row_sum[threadIdx.x] = 0;
  }
  const int64_t position = segment.queries.position + begin;
  const int64_t seen = position + end - begin;  // keys that the last row sees
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float output[kOutputsPerThread] = {};
  for (int32_t n = 0; n < count; ++n) {
    const int64_t last = min((list[n] + 1) * a.block_size, seen);
    for (int64_t key = list[n] * a.block_size; key < last; key += kRows) {
      __syncthreads();
      load_tile(a.k + segment.key_row * a.k_stride + key_column, a.k_stride, key, last, a.head_dim, k);
      load_tile(a.v + segment.key_row * a.v_stride + key_column, a.v_stride, key, last, a.head_dim, v);
      __syncthreads();
      for (int r = static_cast<int>(threadIdx.x) / 32; r < kRows; r += kThreads / 32) {  // a warp a row
        float score = 0;
        for (int c = 0; c < a.head_dim; ++c) score += q[r * width + c] * k[lane * width + c];
        score = key + lane < last && key + lane <= position + r ? score * a.scale : kMinusInfinity;
        const float before = row_max[r];
        const float maximum = max_nan(before, warp_reduce(score, MaxNan()));
        // Rows of the diagonal block may see none of a tile's keys, and it may be their first.
        const float base = maximum == kMinusInfinity ? 0.0F : maximum;
        const float weight = expf(score - base);
        const float sum = warp_reduce(weight, Sum());
        p[r * (kRows + 1) + lane] = weight;
        __syncwarp();
        if (lane == 0) {
          row_factor[r] = expf(before - base);
          row_max[r] = maximum;
          row_sum[r] = row_sum[r] * row_factor[r] + sum;
        }
      }
      __syncthreads();
#pragma unroll
      for (int n_out = 0; n_out < kOutputsPerThread; ++n_out) {
        const int at = n_out * kThreads + static_cast<int>(threadIdx.x);
        const int r = at / a.head_dim;
        if (r >= kRows) break;
        float sum = output[n_out] * row_factor[r];
        for (int j = 0; j < kRows; ++j) sum += p[r * (kRows + 1) + j] * v[j * width + at % a.head_dim];
        output[n_out] = sum;
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int n_out = 0; n_out < kOutputsPerThread; ++n_out) {
    const int at = n_out * kThreads + static_cast<int>(threadIdx.x);
    const int r = at / a.head_dim;
    if (r >= end - begin) break;
    a.o[(segment.queries.row + begin + r) * a.o_stride + query_column + at % a.head_dim] =
        row_sum[r] == 0 ? 0.0F : output[n_out] / row_sum[r];
  }
}

}  // namespace

void sparse_attention_fp32(cudaStream_t stream, const SparseAttentionArgs& args) {
  const int64_t head_dim = args.q.dim(2);
  if (head_dim > kMaxHeadDim) {
    fail("head_dim {}: attention on the GPU takes head dimensions up to {}", head_dim, kMaxHeadDim);
  }
  const int64_t most_blocks = most_rows(args.blocks->segments);
  if (most_blocks == 0) return;
  const int64_t tiles = ceil_div(args.blocks->block_size, kRows);
  const SparseFp32Args a{.q = elements<float>(args.q),
                         .k = elements<float>(args.k),
                         .v = elements<float>(args.v),
                         .o = elements<float>(args.output),
                         .q_stride = args.q.row_stride(),
                         .k_stride = args.k.row_stride(),
                         .v_stride = args.v.row_stride(),
                         .o_stride = args.output.row_stride(),
                         .head_dim = static_cast<int>(head_dim),
                         .group = static_cast<int>(args.q.dim(1) / args.k.dim(1)),
                         .head_begin = static_cast<int>(args.head_begin),
                         .head_count = args.head_count,
                         .scale = args.scale,
                         .segments = device_table(args.layout->segments),
                         .matrices = device_table(args.blocks->segments),
                         .counts = elements<int32_t>(args.lists.counts),
                         .blocks = elements<int32_t>(args.lists.blocks),
                         .block_rows = args.blocks->num_query_rows,
                         .block_size = args.blocks->block_size,
                         .tiles_per_block = tiles};
  const size_t bytes = (3 * kRows * (head_dim + 1) + kRows * (kRows + 1)) * sizeof(float);
  check(cudaFuncSetAttribute(sparse_attention_fp32_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)),
        "cudaFuncSetAttribute");
  const dim3 grid(most_blocks * tiles, args.head_count, grid_axis(args.layout->segments.host.size()));
  sparse_attention_fp32_kernel<<<grid, kThreads, bytes, stream>>>(a);
  check_launch("sparse_attention (fp32)");
}

}  // namespace seer::cuda
