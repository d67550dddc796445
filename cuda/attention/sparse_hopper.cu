// Block-sparse attention for Hopper: TMA, wgmma, warp specialisation; hopper.cu's structure around lists of key blocks.
//
// Skip, do not mask: only blocks that some row keeps are loaded. At block 64 and D 128 a kept tile of 64 x 64 is 2.1
// MFLOP, 512 cycles of the tensor cores, for 32 KB of K and V, 256 cycles of shared memory's writes and 800 of a
// multiprocessor's share of L2 (9.1 TB/s of 132): what L2 delivers bounds random masks, and what is loaded once for
// several query tiles counts several times. So a piece of work is a triple: three 64-row items of one kv head, their
// lists merged. Items lie in the order of sparse.h, and neighbours share a triple: query heads of a block row or block
// rows of a head, whichever keep more of the same blocks, and halves of a query block of 128 (the same list). A
// persistent thread block takes triples from a counter until none is left:
//
//   group 0          56 registers  warp 0: merges lists, 32 tiles at a time, TMA loads of k and v; warp 1, one thread:
//                                  looks triples up ahead; warp 2, one thread: TMA loads of q
//   group 1, 2, 3   152 registers  consumers, an item each: q 12 + s 32 + p 16 + o 64 registers a thread (D 128)
//
//   shared memory, D 128: q 3 x 16 KB |  5 stages of k and v, 32 KB each = 208 KB, key tiles of 64
//                  D 64:  q 3 x  8 KB | 10 stages of k and v, 16 KB each = 184 KB
//
// q stays in shared memory: a consumer has registers for 48 of its 128 columns (D 64: all). Each stage carries a step:
// its keys' row, which consumers keep it, who has to mask it, whose item ends with it, and how far on each one's next is.
// Consumers see all steps of the triple in order and let go of those that are not theirs as they arrive; none waits for
// another until the ring is full between them.
//
//   lists        item 0: 0 2 4 5    item 1: 0 1 5    item 2: 2 4
//   loader       0 1 2 4 5: one load for each block of the union (sparse_hopper_loader.cuh says where not)
//   consumer 1   | qk(0) | softmax(0) ....... | pv(0) qk(2) | softmax(2) ....... | pv(2) qk(4) | softmax(4) ...
//   consumer 2   ........| qk(0) | softmax(0) ....... | pv(0) qk(1) | softmax(1) ....... | pv(1) qk(5) | softmax(5) ...
//   consumer 3   ................| qk(2) | softmax(2) ....... | pv(2) qk(4) | softmax(4) ....... | pv(4) | o ...
//
// Where the next step that an item keeps is less than the ring away, its q k^T is queued behind this one's p v, those of
// others in between are let go of meanwhile: that saves a wait and a start. While a consumer is in its softmax, or between
// two items (o's way out, the next q's way in), the products of the two others run. A step takes some 1850 cycles at
// density 50%, 290 of them maxima, 600 exponentials, most of the rest products, its own 512 and those it waits for;
// more where lists are short, and where those of a triple differ, as nobody gets further ahead than the ring
// (cuda/NOTES.md).
//
// Why the ring cannot stand still: a consumer that waits for step w holds one of the steps w - stages + 1 .. w - 1 at most
// and has let go of all others before w; one that works on a step waits for its own products alone. So of the steps up to
// w - stages, for the smallest w that any waits for, none stays held, and the loader finds the slot for w empty. One that
// waits for the q of its item holds none, and holds up the steps of its own triple; what its q waits for, through the
// thread that loads it, is items of triples before, whose steps it has let go of.
//
// The causal mask concerns tiles that reach beyond an item's first row: the diagonal block's. Keys that no row of the
// item sees (of a diagonal block of 128, for its first half) are not loaded. An item's arithmetic depends on its own
// list alone, not on what shares its triple: same bits for any range of heads. That is why tiles stay 64 wide: which
// blocks are neighbours in the merged list depends on the other items. Without blocks it outputs 0.
//
// Bound at 128k tokens, 32 and 8 heads, random masks at 10%: 24 ms of L2, 23 ms at 600 TFLOP/s (KERNELS.md); a union of
// three random lists at 10% is 10% shorter than all of them. A triple that shares its list needs 1536 cycles of the
// tensor cores for 800 of L2; of lists shared by 4 heads every other triple has two, six loads for 12 items. Shared
// memory is read in 336 cycles of a tile's 512, in 208 of q k^T's 256 (all of q from there: 256), and written
// in 256 for each load.
//
// Keys behind the diagonal have weight 0, but 0 * NaN is NaN: a NaN in v reaches up to 63 rows before it.
#include <algorithm>
#include <limits>

#include "cuda/attention/sparse_hopper_consumer.cuh"
#include "cuda/attention/sparse_hopper_loader.cuh"
#include "cuda/attention/tensor_map.h"
#include "cuda/dependent_launch.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace hopper {
namespace {

// What 4 groups of 128, the most at launch, share: 56 + 3 * 152.
constexpr int kListLoaderRegisters = 56;
constexpr int kListConsumerRegisters = 152;

template <int kHeadDim, int kBlockSize>
__global__ void __launch_bounds__(kListThreads, 1)
    sparse_attention_kernel(const __grid_constant__ CUtensorMap q_map,
                            const __grid_constant__ CUtensorMap k_map,
                            const __grid_constant__ CUtensorMap v_map,
                            const __grid_constant__ SparseParams params) {
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<SparseShared<kHeadDim>*>(shared_bytes);
  if (threadIdx.x == 0) shared.initialise_barriers();
  __syncthreads();
  wait_for_kernel_before();  // order_lists()

  if (threadIdx.x < kGroupThreads) {
    ptx::registers_give_back<kListLoaderRegisters>();
    if (threadIdx.x < 32) load_listed<kHeadDim, kBlockSize>(shared, k_map, v_map);
    if (threadIdx.x == 32) schedule_triples<kHeadDim, kBlockSize>(shared, params);
    if (threadIdx.x == 64) fetch_queries<kHeadDim>(shared, q_map);
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
  int64_t triples = 0;
  for (int32_t number = 0; number < kv_heads_used(p); ++number) {
    const int64_t items =
        static_cast<int64_t>(p.block_rows) * head_group(p, number).count * (kBlockSize / kListRows);
    triples += ceil_div(items, kListConsumers);
  }
  // Every thread block counts once past the end.
  if (triples > std::numeric_limits<int32_t>::max() - sm_count)
    fail("sparse attention: {} pieces of work", triples);
  const auto thread_blocks = static_cast<unsigned>(std::min<int64_t>(sm_count, triples));
  launch_dependent("sparse_attention_hopper", kernel, thread_blocks, kListThreads, kSharedBytes, stream,
                   q_map, k_map, v_map, p);
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
