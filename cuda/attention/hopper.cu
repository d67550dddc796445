// Fused causal attention with pooled ground truth for Hopper: TMA, wgmma, warp specialisation.
//
// A persistent thread block takes pieces of work, a tile of 128 query rows of one head, from a counter until
// none is left. Its three warp groups:
//
//   group 0      24 registers  warp 0, one thread: TMA loads; warp 1, one thread: looks work up ahead of time
//   group 1, 2  240 registers  consumers, 64 rows each: q 32 + s 64 + p 32 + o 64 registers a thread (D 128)
//
//   shared memory, D 128: q 32 KB | k 2 x 32 KB | v 2 x 32 KB = 160 KB, key tiles of 128
//                  D 64:  q 16 KB | k 4 x 16 KB | v 4 x 16 KB = 144 KB
//
// A consumer queues the next q k^T together with this tile's p v, and its softmax runs while the latter is
// computed. The two consumers take turns on the tensor cores: while one is in its softmax, the other's
// products run. Nothing enforces it, whoever comes second simply finds the tensor cores taken; named barriers
// that did cost 3.5% (cuda/NOTES.md).
//
//   consumer 1   | qk(t+1)  pv(t) | softmax(t+1) ........ | qk(t+2)  pv(t+1) | softmax(t+2) ...
//   consumer 2   ..... softmax(t) | qk(t+1)  pv(t) | softmax(t+1) ........ | qk(t+2)  pv(t+1) |
//   tensor cores | consumer 1     | consumer 2     | consumer 1            | ...
//
//   loader       q k0 k1 v0 k2 v1 ...: a stage is refilled once all eight consumer warps have let go of it
//
// Block maxima (block_log_max): the softmax needs each tile's row maxima anyway. Kept apart for each block of
// keys, they go to the thread block's scratch [key block][128 rows] as raw scores, one coalesced store a
// thread and tile (block 64), and mostly stay in L2. Once the rows' logsumexp is known the scratch is read
// back: one subtraction and one maximum for each entry, one result for each (query block, key block).
//
// Bound: at D 128 a tile's 4 * 128 * 128 * D FLOPs take 2048 cycles of the tensor cores, its 16,384
// exponentials 1024 of the special function units. Long sequences run into the card's 700 W before that
// (cuda/NOTES.md).
//
// Keys behind the diagonal have weight 0, but 0 * NaN is NaN: a NaN in v reaches up to 127 rows before it.
#include <algorithm>
#include <limits>

#include "cuda/attention/hopper_consumer.cuh"
#include "cuda/attention/tensor_map.h"
#include "cuda/check.h"

namespace seer::cuda {
namespace hopper {
namespace {

// What 3 groups of 168, the most at launch, leave to share: 24 + 2 * 240.
constexpr int kLoaderRegisters = 24;
constexpr int kConsumerRegisters = 240;

template <int kHeadDim, int kBlockSize, bool kOutput>
__global__ void __launch_bounds__(kThreads, 1)
    attention_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                     const __grid_constant__ CUtensorMap v_map,
                     const __grid_constant__ AttentionParams params) {
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<Shared<kHeadDim>*>(shared_bytes);
  if (threadIdx.x == 0) shared.initialise_barriers();
  __syncthreads();

  if (threadIdx.x < kGroupThreads) {
    ptx::registers_give_back<kLoaderRegisters>();
    if (threadIdx.x == 0) load<kHeadDim, kOutput>(shared, q_map, k_map, v_map, params);
    if (threadIdx.x == 32) schedule(shared, params);
  } else {
    ptx::registers_claim<kConsumerRegisters>();
    Consumer<kHeadDim, kBlockSize, kOutput>(shared, params).run();
  }
}

// ---- host

template <int kHeadDim, int kBlockSize, bool kOutput>
void launch(const AttentionParams& p, int thread_blocks, cudaStream_t stream) {
  const auto kernel = attention_kernel<kHeadDim, kBlockSize, kOutput>;
  constexpr int kSharedBytes = sizeof(Shared<kHeadDim>);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "attention_hopper: shared memory");
  const CUtensorMap q_map = tensor_map("q", p.q, p.query_rows, p.heads, kHeadDim, p.q_stride, kQueryTile);
  const CUtensorMap k_map = tensor_map("k", p.k, p.key_rows, p.kv_heads, kHeadDim, p.k_stride, kKeyTile);
  const CUtensorMap v_map =
      kOutput ? tensor_map("v", p.v, p.key_rows, p.kv_heads, kHeadDim, p.v_stride, kKeyTile) : k_map;
  kernel<<<thread_blocks, kThreads, kSharedBytes, stream>>>(q_map, k_map, v_map, p);
  check_launch("attention_hopper");
}

template <int kHeadDim, int kBlockSize>
void launch(const AttentionParams& p, int thread_blocks, cudaStream_t stream) {
  if (p.o != nullptr) {
    launch<kHeadDim, kBlockSize, true>(p, thread_blocks, stream);
  } else {
    launch<kHeadDim, kBlockSize, false>(p, thread_blocks, stream);
  }
}

template <int kHeadDim>
void launch(const AttentionParams& p, int thread_blocks, cudaStream_t stream) {
  if (p.block_log_max == nullptr) return launch<kHeadDim, 0>(p, thread_blocks, stream);
  switch (p.block_size) {
    case 16:
      return launch<kHeadDim, 16>(p, thread_blocks, stream);
    case 32:
      return launch<kHeadDim, 32>(p, thread_blocks, stream);
    case 64:
      return launch<kHeadDim, 64>(p, thread_blocks, stream);
    case 128:
      return launch<kHeadDim, 128>(p, thread_blocks, stream);
    default:
      fail("attention: block size {} is none of 16, 32, 64, 128", p.block_size);
  }
}

}  // namespace
}  // namespace hopper

bool hopper_supports(int64_t head_dim) {
  return head_dim == 64 || head_dim == 128;
}

int hopper_thread_blocks(int64_t /*head_dim*/, int sm_count) {
  return sm_count;
}

void attention_hopper(const AttentionParams& params, int64_t head_dim, int thread_blocks,
                      cudaStream_t stream) {
  const int64_t pieces = static_cast<int64_t>(params.num_tiles) * params.head_count;
  if (pieces == 0) return;
  // Every thread block counts once past the end.
  if (pieces > std::numeric_limits<int32_t>::max() - thread_blocks) fail("attention: {} query tiles", pieces);
  if (params.o_stride % 8 != 0 || reinterpret_cast<uintptr_t>(params.o) % 16 != 0) {
    fail("attention: o must lie at a multiple of 16 bytes and its row stride ({}) be a multiple of 8",
         params.o_stride);
  }
  thread_blocks = static_cast<int>(std::min<int64_t>(thread_blocks, pieces));
  switch (head_dim) {
    case 64:
      return hopper::launch<64>(params, thread_blocks, stream);
    case 128:
      return hopper::launch<128>(params, thread_blocks, stream);
    default:
      fail("attention: the Hopper kernel has no head_dim {}", head_dim);
  }
}

}  // namespace seer::cuda
