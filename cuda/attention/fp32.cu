// The reference attention with pooled ground truth (SEMANTICS 1 and 3): plain fp32, any head_dim up to 256, made to
// be read. Two kernels, so that nothing has to wait anywhere for a row's logsumexp: the first makes output and
// logsumexp by the online softmax; the second computes the scores again and takes the maxima of s - lse.
//
// Both work on tiles of 32 queries by 32 keys. Shared memory: q, k and v tiles [32][D + 1] (the 1 keeps a column's
// elements in different banks), scores [32][33]: 103 KB at D 256.
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
constexpr int kScoresPerThread = kRows * kRows / kThreads;
constexpr int kOutputsPerThread = kRows * kMaxHeadDim / kThreads;

struct Fp32Args {
  const float* q;
  const float* k;
  const float* v;
  float* o;
  int64_t q_stride, k_stride, v_stride, o_stride;
  int head_dim, heads, group, head_begin;
  int64_t head_count;
  float scale;
  float* logsumexp;  ///< [head_count][logsumexp_stride]
  int64_t logsumexp_stride;
  const Segment* segments;
  float* block_log_max;
  const ScoreSegment* blocks;
  int block_size;
};

/// Loads rows [first, first + kRows) of one head, zeros from `rows` on.
__device__ void load_tile(const float* from, int64_t stride, int64_t first, int64_t rows, int head_dim,
                          float factor, float* tile) {
  for (int at = threadIdx.x; at < kRows * head_dim; at += kThreads) {
    const int r = at / head_dim;
    const int c = at % head_dim;
    tile[r * (head_dim + 1) + c] = first + r < rows ? from[(first + r) * stride + c] * factor : 0.0F;
  }
}

/// This thread's n-th score of a tile: row and key.
__device__ int score_row(int n) {
  return (n * kThreads + static_cast<int>(threadIdx.x)) / kRows;
}
__device__ int score_key() {
  return static_cast<int>(threadIdx.x) % kRows;
}

/// q k^T of the tiles; -inf where the row at `position + r` does not see key `key + c`.
__device__ void score_tile(const float* q, const float* k, int head_dim, int64_t position, int64_t key,
                           float (&scores)[kScoresPerThread]) {
#pragma unroll
  for (int n = 0; n < kScoresPerThread; ++n) scores[n] = 0;
  for (int c = 0; c < head_dim; ++c) {
    const float right = k[score_key() * (head_dim + 1) + c];
#pragma unroll
    for (int n = 0; n < kScoresPerThread; ++n) scores[n] += q[score_row(n) * (head_dim + 1) + c] * right;
  }
#pragma unroll
  for (int n = 0; n < kScoresPerThread; ++n) {
    if (key + score_key() > position + score_row(n)) scores[n] = kMinusInfinity;
  }
}

/// Block (query tile, head, segment): output and logsumexp.
__global__ void __launch_bounds__(kThreads) attend_kernel(Fp32Args a) {
  extern __shared__ float shared[];
  const Segment& segment = a.segments[blockIdx.z];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kRows;
  if (begin >= segment.queries.rows) return;
  const int head = a.head_begin + static_cast<int>(blockIdx.y);
  const int kv_head = head / a.group;
  const int width = a.head_dim + 1;
  float* q = shared;
  float* k = q + kRows * width;
  float* v = k + kRows * width;
  float* p = v + kRows * width;  // [kRows][kRows + 1]
  __shared__ float row_max[kRows];
  __shared__ float row_sum[kRows];
  __shared__ float row_factor[kRows];

  load_tile(a.q + segment.queries.row * a.q_stride + static_cast<int64_t>(head) * a.head_dim, a.q_stride,
            begin, segment.queries.rows, a.head_dim, a.scale, q);
  if (threadIdx.x < kRows) {
    row_max[threadIdx.x] = kMinusInfinity;
    row_sum[threadIdx.x] = 0;
  }
  const int64_t position = segment.queries.position + begin;
  const int64_t rows = min(static_cast<int64_t>(kRows), segment.queries.rows - begin);
  const int64_t keys = position + rows;
  float output[kOutputsPerThread] = {};
  for (int64_t key = 0; key < keys; key += kRows) {
    __syncthreads();
    const int64_t head_offset = static_cast<int64_t>(kv_head) * a.head_dim;
    load_tile(a.k + segment.key_row * a.k_stride + head_offset, a.k_stride, key, segment.length, a.head_dim,
              1.0F, k);
    if (a.o != nullptr) {
      load_tile(a.v + segment.key_row * a.v_stride + head_offset, a.v_stride, key, segment.length, a.head_dim,
                1.0F, v);
    }
    __syncthreads();
    float scores[kScoresPerThread];
    score_tile(q, k, a.head_dim, position, key, scores);
    // A warp holds whole rows: 32 keys of one row at a time.
#pragma unroll
    for (int n = 0; n < kScoresPerThread; ++n) {
      const int r = score_row(n);
      const float before = row_max[r];
      const float maximum = max_nan(before, warp_reduce(scores[n], MaxNan()));
      const float weight = expf(scores[n] - maximum);
      const float sum = warp_reduce(weight, Sum());
      p[r * (kRows + 1) + score_key()] = weight;
      __syncwarp();
      if (score_key() == 0) {
        row_factor[r] = expf(before - maximum);
        row_max[r] = maximum;
        row_sum[r] = row_sum[r] * row_factor[r] + sum;
      }
    }
    __syncthreads();
    if (a.o == nullptr) continue;
    for (int n = 0; n < kOutputsPerThread; ++n) {
      const int at = n * kThreads + static_cast<int>(threadIdx.x);
      const int r = at / a.head_dim;
      if (r >= kRows) break;
      float sum = output[n] * row_factor[r];
      for (int j = 0; j < kRows; ++j) sum += p[r * (kRows + 1) + j] * v[j * width + at % a.head_dim];
      output[n] = sum;
    }
  }
  if (a.o != nullptr) {
    for (int n = 0; n < kOutputsPerThread; ++n) {
      const int at = n * kThreads + static_cast<int>(threadIdx.x);
      const int r = at / a.head_dim;
      if (r >= rows) break;
      a.o[(segment.queries.row + begin + r) * a.o_stride + static_cast<int64_t>(head) * a.head_dim +
          at % a.head_dim] = output[n] / row_sum[r];
    }
  }
  if (threadIdx.x < rows) {
    a.logsumexp[blockIdx.y * a.logsumexp_stride + segment.queries.row + begin + threadIdx.x] =
        row_max[threadIdx.x] + logf(row_sum[threadIdx.x]);
  }
}

/// Block (query block, head, segment): the log maxima of its row of the matrix.
__global__ void __launch_bounds__(kThreads) block_max_kernel(Fp32Args a) {
  extern __shared__ float shared[];
  const Segment& segment = a.segments[blockIdx.z];
  const ScoreSegment& matrix = a.blocks[blockIdx.z];
  const int64_t block = blockIdx.x;
  if (block >= matrix.queries.rows) return;
  const int head = a.head_begin + static_cast<int>(blockIdx.y);
  float* q = shared;
  float* k = q + kRows * (a.head_dim + 1);
  const int64_t first = block * a.block_size;
  const int64_t rows = min(static_cast<int64_t>(a.block_size), segment.queries.rows - first);
  const float* logsumexp = a.logsumexp + blockIdx.y * a.logsumexp_stride + segment.queries.row + first;
  float* out = a.block_log_max + matrix.matrix * a.head_count +
               (blockIdx.y * matrix.queries.rows + block) * matrix.blocks;
  const int64_t diagonal = matrix.queries.position + block;
  for (int64_t j = 0; j <= diagonal; ++j) {
    float maximum = kMinusInfinity;
    for (int64_t row = 0; row < rows; row += kRows) {
      for (int64_t key = j * a.block_size; key < (j + 1) * a.block_size; key += kRows) {
        __syncthreads();
        load_tile(a.q + (segment.queries.row + first) * a.q_stride + static_cast<int64_t>(head) * a.head_dim,
                  a.q_stride, row, rows, a.head_dim, a.scale, q);
        load_tile(a.k + segment.key_row * a.k_stride + static_cast<int64_t>(head / a.group) * a.head_dim,
                  a.k_stride, key, segment.length, a.head_dim, 1.0F, k);
        __syncthreads();
        float scores[kScoresPerThread];
        score_tile(q, k, a.head_dim, segment.queries.position + first + row, key, scores);
#pragma unroll
        for (int n = 0; n < kScoresPerThread; ++n) {
          // Blocks of 16 fill half a tile: the other half's keys belong to another block, its rows too.
          if (row + score_row(n) < rows && key + score_key() < (j + 1) * a.block_size) {
            maximum = max_nan(maximum, scores[n] - logsumexp[row + score_row(n)]);
          }
        }
      }
    }
    maximum = block_reduce<kThreads>(maximum, MaxNan());
    if (threadIdx.x == 0) out[j] = maximum;
  }
  for (int64_t j = diagonal + 1 + threadIdx.x; j < matrix.blocks; j += kThreads) out[j] = kMinusInfinity;
}

/// More than 48 KB of shared memory has to be asked for.
void allow_shared_memory(const void* kernel, size_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "cudaFuncSetAttribute");
}

}  // namespace

size_t attention_fp32_workspace(const AttentionArgs& args) {
  return args.head_count * args.q.rows() * sizeof(float);
}

void attention_fp32(cudaStream_t stream, const AttentionArgs& args) {
  const int64_t head_dim = args.q.dim(2);
  if (head_dim > kMaxHeadDim) {
    fail("head_dim {}: attention on the GPU takes head dimensions up to {}", head_dim, kMaxHeadDim);
  }
  int64_t most_rows = 0;
  for (const Segment& segment : args.layout->segments.host)
    most_rows = std::max(most_rows, segment.queries.rows);
  if (most_rows == 0) return;
  Fp32Args a{.q = elements<float>(args.q),
             .k = elements<float>(args.k),
             .v = nullptr,
             .o = nullptr,
             .q_stride = args.q.row_stride(),
             .k_stride = args.k.row_stride(),
             .v_stride = 0,
             .o_stride = 0,
             .head_dim = static_cast<int>(head_dim),
             .heads = static_cast<int>(args.q.dim(1)),
             .group = static_cast<int>(args.q.dim(1) / args.k.dim(1)),
             .head_begin = static_cast<int>(args.head_begin),
             .head_count = args.head_count,
             .scale = args.scale,
             .logsumexp = static_cast<float*>(args.workspace.raw()),
             .logsumexp_stride = args.q.rows(),
             .segments = device_table(args.layout->segments),
             .block_log_max = nullptr,
             .blocks = nullptr,
             .block_size = 0};
  if (!args.output.empty()) {
    a.v = elements<float>(args.v);
    a.v_stride = args.v.row_stride();
    a.o = elements<float>(args.output);
    a.o_stride = args.output.row_stride();
  }
  if (!args.logsumexp.empty()) a.logsumexp = elements<float>(args.logsumexp);

  const auto segments = static_cast<unsigned>(args.layout->segments.host.size());
  const size_t tile = kRows * (head_dim + 1) * sizeof(float);
  const size_t attend_bytes = 3 * tile + kRows * (kRows + 1) * sizeof(float);
  allow_shared_memory(reinterpret_cast<const void*>(attend_kernel), attend_bytes);
  const dim3 tiles(ceil_div(most_rows, kRows), args.head_count, segments);
  attend_kernel<<<tiles, kThreads, attend_bytes, stream>>>(a);
  check_launch("attention (fp32)");
  if (args.block_log_max.empty()) return;
  a.block_log_max = elements<float>(args.block_log_max);
  a.blocks = device_table(args.blocks->segments);
  a.block_size = static_cast<int>(args.blocks->block_size);
  allow_shared_memory(reinterpret_cast<const void*>(block_max_kernel), 2 * tile);
  const dim3 blocks(ceil_div(most_rows, a.block_size), args.head_count, segments);
  block_max_kernel<<<blocks, kThreads, 2 * tile, stream>>>(a);
  check_launch("block maxima (fp32)");
}

}  // namespace seer::cuda
