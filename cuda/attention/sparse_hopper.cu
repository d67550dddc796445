// Block-sparse attention for Hopper: TMA, wgmma, warp specialisation; hopper.cu's structure around lists of key blocks.
//
// Skip, do not mask: only blocks that some row keeps are loaded. At block 64 and D 128 a kept tile of 64 x 64 is 2.1
// MFLOP, 512 cycles of the tensor cores, for 32 KB of K and V, 256 cycles of shared memory's writes and 800 of a
// multiprocessor's share of L2 (9.1 TB/s of 132): what L2 delivers bounds random masks, and what is loaded once for two
// query tiles counts twice. So a piece of work is a pair: two 64-row items of one kv head whose lists are merged. Items
// lie in the order of sparse.h, and neighbours are paired: two query heads of a block row (those of a group often keep
// the same blocks: half the loads), the halves of a query block of 128 (the same list), without such two block rows whose
// lists are about as long. A persistent thread block takes pairs from a counter until none is left:
//
//   group 0      56 registers  warp 0: merges lists, TMA loads; warp 1, one thread: looks pairs up ahead
//   group 1, 2  224 registers  consumers, an item each: q 32 + s 2 x 32 + p 16 + o 64 registers a thread (D 128)
//
//   shared memory, D 128: q 2 x 16 KB | 6 stages of k and v, 32 KB each = 224 KB, key tiles of 64
//                  D 64:  q 2 x  8 KB | 8 stages of k and v, 16 KB each = 144 KB
//
// Each stage carries a step: its keys' row, which consumers keep it, and how many steps on (up to kReach) each one's
// next is. Consumers see all steps of the pair in order and let go of those that are not theirs as they arrive; neither
// waits for the other until the ring is full between them. An item's steps no further apart than kReach are a run:
//
//   lists        item 0: 0 2 4 5 6    item 1: 0 1 5 6 9       kReach 1
//   loader       0 1 2 4 5 6 9: one load for each block of the union
//   consumer 1   qk(0) softmax(0) pv(0) - | qk(2) qk(4) softmax(2) | pv(2) qk(5) softmax(4) | pv(4) qk(6) ...
//   consumer 2   qk(0) qk(1) softmax(0) | pv(0) softmax(1) | pv(1) - - | qk(5) qk(6) softmax(5) | pv(5) qk(9) ...
//
// Within a run the next step's q k^T is queued, besides the last one's p v, before this step's softmax, which needs
// neither: hopper.cu's softmax follows the q k^T it waited for, which 128 keys a tile amortise and 64 do not. So a step
// takes what is longer, the tensor cores' 512 cycles (1024 with the other consumer's) or the chain of issue, maxima,
// exponentials and rounding, and not parts of both. The two consumers take turns on the tensor cores by themselves.
//
// Why the ring cannot stand still: a consumer that waits for step w holds the two last steps of its run, at most, the
// older one no more than 2 kReach before w; everything older, and all steps of others, it has let go of. Take the
// consumer that is furthest behind, with the smaller w. Of the steps before w - 2 kReach neither it nor the other holds
// any, so the loader, which needs step w - n's slot for step w in a ring of n stages, finds it empty if n > 2 kReach.
// Before a step further on, or of unknown distance, p v is finished and nothing is held.
//
// The causal mask concerns tiles that reach beyond an item's first row: the diagonal block's. Keys that no row of the
// item sees (of a diagonal block of 128, for its first half) are not loaded. An item's arithmetic depends on its own
// list alone, not on what it is paired with: same bits for any range of heads. That is why tiles stay 64 wide: which
// steps form a run depends on the other list, and changes when products are queued but no operation nor its order.
// Without blocks it outputs 0.
//
// Bound at 128k tokens, 32 and 8 heads, random masks at 10%: 24 ms of L2, 23 ms at 600 TFLOP/s (KERNELS.md); a union of
// two random lists at 10% is 5% shorter than both. With lists shared by a group a pair of items needs 1024 cycles of the
// tensor cores for 800 of L2.
//
// Keys behind the diagonal have weight 0, but 0 * NaN is NaN: a NaN in v reaches up to 63 rows before it.
#include <algorithm>
#include <limits>

#include "cuda/attention/sparse_hopper_consumer.cuh"
#include "cuda/attention/tensor_map.h"
#include "cuda/check.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace hopper {
namespace {

// What 3 groups of 168, the most at launch, leave to share: 56 + 2 * 224.
constexpr int kListLoaderRegisters = 56;
constexpr int kListConsumerRegisters = 224;

template <int kHeadDim, int kBlockSize>
__global__ void __launch_bounds__(kThreads, 1)
    sparse_attention_kernel(const __grid_constant__ CUtensorMap q_map,
                            const __grid_constant__ CUtensorMap k_map,
                            const __grid_constant__ CUtensorMap v_map,
                            const __grid_constant__ SparseParams params) {
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<SparseShared<kHeadDim>*>(shared_bytes);
  if (threadIdx.x == 0) shared.initialise_barriers();
  __syncthreads();

  if (threadIdx.x < kGroupThreads) {
    ptx::registers_give_back<kListLoaderRegisters>();
    if (threadIdx.x < 32) load_listed<kHeadDim, kBlockSize>(shared, q_map, k_map, v_map);
    if (threadIdx.x == 32) schedule_pairs<kHeadDim, kBlockSize>(shared, params);
  } else {
    ptx::registers_claim<kListConsumerRegisters>();
    SparseConsumer<kHeadDim>(shared, params).run();
  }
}

// ---- host

template <int kHeadDim, int kBlockSize>
void launch(const SparseParams& p, int sm_count, cudaStream_t stream) {
  const auto kernel = sparse_attention_kernel<kHeadDim, kBlockSize>;
  constexpr int kSharedBytes = sizeof(SparseShared<kHeadDim>);
  static_assert(kSharedBytes <= 227 * 1024);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "sparse_attention_hopper: shared memory");
  const CUtensorMap q_map = tensor_map("q", p.q, p.query_rows, p.heads, kHeadDim, p.q_stride, kListRows);
  const CUtensorMap k_map = tensor_map("k", p.k, p.key_rows, p.kv_heads, kHeadDim, p.k_stride, kListKeys);
  const CUtensorMap v_map = tensor_map("v", p.v, p.key_rows, p.kv_heads, kHeadDim, p.v_stride, kListKeys);
  int64_t pairs = 0;
  for (int32_t number = 0; number < kv_heads_used(p); ++number) {
    const int64_t items =
        static_cast<int64_t>(p.block_rows) * head_group(p, number).count * (kBlockSize / kListRows);
    pairs += ceil_div(items, kConsumers);
  }
  // Every thread block counts once past the end.
  if (pairs > std::numeric_limits<int32_t>::max() - sm_count)
    fail("sparse attention: {} pieces of work", pairs);
  const auto thread_blocks = static_cast<unsigned>(std::min<int64_t>(sm_count, pairs));
  kernel<<<thread_blocks, kThreads, kSharedBytes, stream>>>(q_map, k_map, v_map, p);
  check_launch("sparse_attention_hopper");
}

template <int kHeadDim>
void launch(const SparseParams& p, int sm_count, cudaStream_t stream) {
  if (p.block_size == 64) return launch<kHeadDim, 64>(p, sm_count, stream);
  launch<kHeadDim, 128>(p, sm_count, stream);
}

}  // namespace
}  // namespace hopper

bool sparse_hopper_supports(int64_t head_dim, int64_t block_size) {
  return (head_dim == 64 || head_dim == 128) && (block_size == 64 || block_size == 128);
}

void sparse_attention_hopper(const SparseParams& params, int64_t head_dim, int sm_count,
                             cudaStream_t stream) {
  if (params.o_stride % 8 != 0 || reinterpret_cast<uintptr_t>(params.o) % 16 != 0) {
    fail("attention: o must lie at a multiple of 16 bytes and its row stride ({}) be a multiple of 8",
         params.o_stride);
  }
  if (head_dim == 64) return hopper::launch<64>(params, sm_count, stream);
  hopper::launch<128>(params, sm_count, stream);
}

}  // namespace seer::cuda
