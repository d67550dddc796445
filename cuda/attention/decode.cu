// Attention of single query rows against long sequences (SEMANTICS 1), as decoding with a KV cache asks for it:
//
//   o = softmax(scale q k^T) v     bf16, and its logsumexp, fp32
//
// Bound: memory, the reading of k and v. A prefill kernel would give each head a thread block of its own and leave most
// multiprocessors without work; here thread blocks share the keys of a sequence, and a second kernel joins what they made.
//
// A thread block computes up to kHeads query heads of one kv head, so that k and v are read once for all of them: they are the
// columns of the products, keys or channels the rows,
//
//   S^T [16 keys, 8 heads]     = K [16 keys, D] Q^T [D, 8 heads]            D / 16 mma
//   O^T [D channels, 8 heads] += V^T [D channels, 16 keys] P^T              D / 16 mma
//
// and one movmatrix turns each half of S^T (keys by heads) into what P^T must be as an operand. k and v go from global memory
// straight into registers: which channel stands where in a product is free as long as both operands agree, so lane l takes 8
// consecutive channels (16 bytes) of a key at a time. Each warp has its own keys, 16 a step, the next step's loads under way
// (D 128: 8 KB a warp, 64 KB a multiprocessor), its own maxima and sums; the thread block's warps meet once, at the end.
//
// Measured: `seer-train bench decode`, cuda/NOTES.md.
#include <algorithm>

#include "cuda/attention/decode.h"
#include "cuda/attention/portable_dispatch.h"
#include "cuda/attention/ptx_sm80.cuh"
#include "cuda/check.h"
#include "cuda/device_code.cuh"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr int kHeads = 8;  ///< Columns of an mma
constexpr int kKeys = 16;  ///< Of a warp's step: rows of an mma
constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kStep = kWarps * kKeys;
constexpr float kLn2 = 0.6931471805599453F;

/// In the log2 domain: largest score, and the sum of 2^(score - largest).
struct Weight {
  float maximum;
  float sum;
};

/// What the thread blocks leave for the kernel that joins them: [segments][head_count][splits].
struct Partials {
  float* o;  ///< [..][D], not divided by the sum
  Weight* weight;

  __host__ __device__ Partials(const AttentionParams& p, int64_t rows, int splits, int head_dim)
      : o(p.scratch),
        weight(reinterpret_cast<Weight*>(p.scratch + rows * p.head_count * splits * head_dim)) {}
};

/// Keys that the segment's row sees.
__device__ int64_t keys_seen(const Segment& segment) {
  return segment.queries.position + 1;
}

/// Heads of a group are taken kHeads at a time.
__host__ __device__ int slots_of(int group) {
  return (group + kHeads - 1) / kHeads;
}

/// Transposes an 8x8 matrix of 16-bit elements: lane l holds elements 2(l%4), +1 of row l/4, then of column l/4.
__device__ uint32_t transposed(uint32_t pair) {
  uint32_t out;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
}

__device__ uint4 load_16(const bf16* from) {
  return __ldg(reinterpret_cast<const uint4*>(from));
}

/// k and v of 16 keys, of which lane 4 row + pair takes
///   k: keys row and row + 8, channels 32 c + 8 pair ..+7
///   v: keys 2 pair, 2 pair + 1, 2 pair + 8, 2 pair + 9, channels 64 c + 8 row ..+7
template <int kHeadDim>
struct Keys {
  uint4 k[kHeadDim / 32][2];
  uint4 v[kHeadDim / 64][4];

  /// From key `first`; beyond `last`, that one again. `keys` and `values`: the head's of key 0.
  __device__ void load(const AttentionParams& p, const bf16* keys, const bf16* values, int64_t first,
                       int64_t last) {
    const int row = static_cast<int>(threadIdx.x) % 32 / 4;
    const int pair = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bf16* from = keys + min(first + row + 8 * i, last) * p.k_stride + 8 * pair;
#pragma unroll
      for (int c = 0; c < kHeadDim / 32; ++c) k[c][i] = load_16(from + 32 * c);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t key = first + 2 * pair + i % 2 + 8 * (i / 2);
      const bf16* from = values + min(key, last) * p.v_stride + 8 * row;
#pragma unroll
      for (int c = 0; c < kHeadDim / 64; ++c) v[c][i] = load_16(from + 64 * c);
    }
  }
};

/// The query heads of a thread block, and what its warp has made of its keys so far. A lane holds heads 2 pair and
/// 2 pair + 1: of both, 8 channels from 64 c + 8 row on.
template <int kHeadDim>
class DecodeWarp {
 public:
  /// `q`: the first head's row; `heads`: how many there are, up to kHeads.
  __device__ DecodeWarp(const bf16* q, int heads) {
    const int head = lane() / 4;
    const int pair = lane() % 4;
#pragma unroll
    for (int c = 0; c < kHeadDim / 32; ++c) {
      q_[c] = head < heads ? load_16(q + head * kHeadDim + 32 * c + 8 * pair) : uint4{};
    }
  }

  /// `keys` from key `first` on, of which `end` does not exist.
  __device__ void add(const Keys<kHeadDim>& keys, int64_t first, int64_t end, float scale_log2) {
    float s[4] = {};  // keys row (0, 1) and row + 8 (2, 3), heads 2 pair (0, 2) and 2 pair + 1
#pragma unroll
    for (int c = 0; c < kHeadDim / 32; ++c) {
      const uint4 low = keys.k[c][0];
      const uint4 high = keys.k[c][1];
      mma_m16n8k16(s, {low.x, high.x, low.y, high.y}, q_[c].x, q_[c].y);
      mma_m16n8k16(s, {low.z, high.z, low.w, high.w}, q_[c].z, q_[c].w);
    }
    const int64_t key = first + lane() / 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) s[i] = key + 8 * (i / 2) < end ? s[i] * scale_log2 : kMinusInfinity;

    const float own[2] = {fmaxf(s[0], s[2]), fmaxf(s[1], s[3])};
    if (__any_sync(kWholeWarp, own[0] > maximum_[0] || own[1] > maximum_[1])) raise(own);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      s[i] = exp2_approx(s[i] - maximum_[i % 2]);
      sum_[i % 2] += s[i];
    }
    const uint32_t p0 = transposed(pack_bf16(s[0], s[1]));
    const uint32_t p1 = transposed(pack_bf16(s[2], s[3]));
#pragma unroll
    for (int c = 0; c < kHeadDim / 64; ++c) {
      add_values(c, 0, keys.v[c][0].x, keys.v[c][1].x, keys.v[c][2].x, keys.v[c][3].x, p0, p1);
      add_values(c, 1, keys.v[c][0].y, keys.v[c][1].y, keys.v[c][2].y, keys.v[c][3].y, p0, p1);
      add_values(c, 2, keys.v[c][0].z, keys.v[c][1].z, keys.v[c][2].z, keys.v[c][3].z, p0, p1);
      add_values(c, 3, keys.v[c][0].w, keys.v[c][1].w, keys.v[c][2].w, keys.v[c][3].w, p0, p1);
    }
  }

  /// Shared memory: [kHeads][kHeadDim] and [kHeads].
  __device__ void store(float (*o)[kHeadDim], Weight* weight) {
    const int row = lane() / 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      for (int lanes = 4; lanes < 32; lanes *= 2) sum_[h] += __shfl_xor_sync(kWholeWarp, sum_[h], lanes);
      const int head = lane() % 4 * 2 + h;
      if (row == 0) weight[head] = {maximum_[h], sum_[h]};
#pragma unroll
      for (int c = 0; c < kHeadDim / 64; ++c) {
        float* to = &o[head][64 * c + 8 * row];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          to[2 * j] = o_[4 * c + j][h];
          to[2 * j + 1] = o_[4 * c + j][2 + h];
        }
      }
    }
  }

 private:
  __device__ static int lane() {
    return static_cast<int>(threadIdx.x) % 32;
  }

  /// Larger maxima, for all lanes that hold a head, and what has been added so far as it is beside them.
  __device__ void raise(const float (&own)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float raised = fmaxf(maximum_[h], own[h]);
      for (int lanes = 4; lanes < 32; lanes *= 2)
        raised = fmaxf(raised, __shfl_xor_sync(kWholeWarp, raised, lanes));
      const float factor = raised > maximum_[h] ? exp2_approx(maximum_[h] - raised) : 1.0F;
      maximum_[h] = raised;
      sum_[h] *= factor;
#pragma unroll
      for (auto& o : o_) {
        o[h] *= factor;
        o[2 + h] *= factor;
      }
    }
  }

  /// Channels 64 c + 8 row + 2 j and the next one, of keys 2 pair, + 1, + 8, + 9.
  __device__ void add_values(int c, int j, uint32_t v0, uint32_t v1, uint32_t v8, uint32_t v9, uint32_t p0,
                             uint32_t p1) {
    constexpr unsigned kLow = 0x5410;
    constexpr unsigned kHigh = 0x7632;
    mma_m16n8k16(o_[4 * c + j],
                 {__byte_perm(v0, v1, kLow), __byte_perm(v0, v1, kHigh), __byte_perm(v8, v9, kLow),
                  __byte_perm(v8, v9, kHigh)},
                 p0, p1);
  }

  uint4 q_[kHeadDim / 32];
  float o_[kHeadDim / 16][4] = {};
  float maximum_[2] = {kMinusInfinity, kMinusInfinity};
  float sum_[2] = {};  ///< Over this lane's keys
};

/// Thread block (split, kv head and slot, segment).
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1) decode_kernel(AttentionParams p, DecodeShares shares) {
  const Segment& segment = p.segments[blockIdx.z];
  const int64_t seen = keys_seen(segment);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * shares.keys_per_split;
  if (begin >= seen) return;
  const int64_t end = min(begin + shares.keys_per_split, seen);
  const int group = p.heads / p.kv_heads;
  const int kv_head = p.head_begin / group + static_cast<int>(blockIdx.y) / slots_of(group);
  const int slot = static_cast<int>(blockIdx.y) % slots_of(group) * kHeads;
  const int head = kv_head * group + slot;  // in the tensor
  const int heads = min(kHeads, group - slot);

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const bf16* keys = p.k + segment.key_row * p.k_stride + static_cast<int64_t>(kv_head) * kHeadDim;
  const bf16* values = p.v + segment.key_row * p.v_stride + static_cast<int64_t>(kv_head) * kHeadDim;
  DecodeWarp<kHeadDim> work(p.q + segment.queries.row * p.q_stride + static_cast<int64_t>(head) * kHeadDim,
                            heads);
  int64_t first = begin + warp * kKeys;
  if (first < end) {
    Keys<kHeadDim> now;
    now.load(p, keys, values, first, end - 1);
    for (; first < end; first += kStep) {
      Keys<kHeadDim> next;
      if (first + kStep < end) next.load(p, keys, values, first + kStep, end - 1);
      work.add(now, first, end, p.scale_log2);
      now = next;
    }
  }

  __shared__ float o[kWarps][kHeads][kHeadDim];
  __shared__ Weight weight[kWarps][kHeads];
  work.store(o[warp], weight[warp]);
  __syncthreads();

  // Each warp joins what all of them have of one head.
  static_assert(kWarps == kHeads);
  const int in_range = head + warp - p.head_begin;
  if (warp >= heads || in_range < 0 || in_range >= p.head_count) return;
  float maximum = kMinusInfinity;
  for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, weight[w][warp].maximum);
  constexpr int kChannels = kHeadDim / 32;
  const int channel = static_cast<int>(threadIdx.x) % 32 * kChannels;
  float sum = 0;
  Vector<float, kChannels> out{};
  for (int w = 0; w < kWarps; ++w) {
    const Weight part = weight[w][warp];
    const float factor = exp2_approx(part.maximum - maximum);
    sum += factor * part.sum;
    for (int i = 0; i < kChannels; ++i) out.values[i] += factor * o[w][warp][channel + i];
  }
  const Partials partials(p, gridDim.z, shares.splits, kHeadDim);
  const int64_t place =
      (static_cast<int64_t>(blockIdx.z) * p.head_count + in_range) * shares.splits + blockIdx.x;
  store(partials.o + place * kHeadDim + channel, out);
  if (channel == 0) partials.weight[place] = {maximum, sum};
}

/// Thread block (head of the range, segment), a thread for each channel.
template <int kHeadDim>
__global__ void __launch_bounds__(kHeadDim) join_kernel(AttentionParams p, DecodeShares shares) {
  const Segment& segment = p.segments[blockIdx.y];
  const auto splits =
      static_cast<int>((keys_seen(segment) + shares.keys_per_split - 1) / shares.keys_per_split);
  const Partials partials(p, gridDim.y, shares.splits, kHeadDim);
  const int64_t place = (static_cast<int64_t>(blockIdx.y) * p.head_count + blockIdx.x) * shares.splits;
  const Weight* weight = partials.weight + place;
  const float* o = partials.o + place * kHeadDim + threadIdx.x;
  float maximum = kMinusInfinity;
  for (int i = 0; i < splits; ++i) maximum = fmaxf(maximum, weight[i].maximum);
  float sum = 0;
  float out = 0;
#pragma unroll 4
  for (int i = 0; i < splits; ++i) {
    const float factor = exp2_approx(weight[i].maximum - maximum);
    sum += factor * weight[i].sum;
    out += factor * o[static_cast<int64_t>(i) * kHeadDim];
  }
  const int64_t head = p.head_begin + static_cast<int64_t>(blockIdx.x);
  p.o[segment.queries.row * p.o_stride + head * kHeadDim + threadIdx.x] = __float2bfloat16_rn(out / sum);
  if (p.logsumexp != nullptr && threadIdx.x == 0) {
    p.logsumexp[blockIdx.x * p.logsumexp_stride + segment.queries.row] = (maximum + log2f(sum)) * kLn2;
  }
}

/// kv heads of the range, each as often as its heads fill slots.
int64_t slots_of(const AttentionParams& p) {
  const int group = p.heads / p.kv_heads;
  const int kv_heads = (p.head_begin + p.head_count - 1) / group - p.head_begin / group + 1;
  return int64_t{kv_heads} * slots_of(group);
}

/// Thread blocks of a launch: one wave, or where pieces are coarse several, so that the last is not nearly empty.
int64_t wanted_blocks(int64_t pieces, int sm_count) {
  return 2 * pieces <= sm_count ? sm_count : int64_t{4} * sm_count;
}

}  // namespace

bool decode_supports(int64_t head_dim) {
  return head_dim == 64 || head_dim == 128;
}

DecodeShares share_out_decode(const AttentionParams& params, int64_t rows, int64_t keys, int sm_count) {
  const int64_t pieces = rows * slots_of(params);
  const int64_t splits = std::max<int64_t>(1, wanted_blocks(pieces, sm_count) / pieces);
  const int64_t keys_per_split = ceil_div(ceil_div(keys, splits), int64_t{kStep}) * kStep;
  return {.splits = static_cast<int32_t>(ceil_div(keys, keys_per_split)),
          .keys_per_split = static_cast<int32_t>(keys_per_split)};
}

size_t decode_scratch_bytes(int64_t rows, int64_t heads, int64_t head_dim, int sm_count) {
  // A thread block leaves kHeads partial rows at most; there are no more than wanted_blocks(), or one a piece.
  const int64_t partials = std::max(int64_t{4} * sm_count * kHeads, rows * heads);
  return static_cast<size_t>(partials) * (head_dim * sizeof(float) + sizeof(Weight));
}

void attention_decode(const AttentionParams& params, int64_t rows, const DecodeShares& shares,
                      int64_t head_dim, cudaStream_t stream) {
  portable::check_rows("q", params.q, params.q_stride);
  portable::check_rows("k", params.k, params.k_stride);
  portable::check_rows("v", params.v, params.v_stride);
  const dim3 blocks(shares.splits, static_cast<unsigned>(slots_of(params)), static_cast<unsigned>(rows));
  const dim3 heads(params.head_count, static_cast<unsigned>(rows));
  const auto launch = [&]<int kHeadDim>() {
    decode_kernel<kHeadDim><<<blocks, kThreads, 0, stream>>>(params, shares);
    check_launch("decode attention");
    join_kernel<kHeadDim><<<heads, kHeadDim, 0, stream>>>(params, shares);
    check_launch("decode attention, joined");
  };
  if (head_dim == 64)
    launch.operator()<64>();
  else
    launch.operator()<128>();
}

}  // namespace seer::cuda
