// The Hopper sparse attention kernel's shared memory, and two of the three warps that keep the consumers fed: the
// scheduler makes triples of list rows, another one loads their queries. The third is in sparse_hopper_loader.cuh.
// sparse_hopper.cu has the overview.
#pragma once

#include "cuda/attention/hopper_roles.cuh"
#include "cuda/attention/sparse.h"

namespace seer::cuda::hopper {

constexpr int kListConsumers = kRowsTogether;  ///< Warp groups that compute
constexpr int kListThreads = kGroupThreads * (1 + kListConsumers);
constexpr int kGroupWarps = kGroupThreads / 32;
constexpr int kListRows = 64;  ///< Query rows of a consumer
constexpr int kListKeys = 64;  ///< Keys of a stage
constexpr int32_t kNoKeys = INT32_MAX;

/// The same value, which all lanes of the warp have, in a uniform register: ptxas then knows that branches on it are
/// uniform and keeps stages and descriptors in uniform registers too.
__device__ inline int uniform(int value) {
  return __reduce_max_sync(kWholeWarp, value);
}

/// 64 query rows of one head with the list of blocks they keep.
struct ListItem {
  const int32_t* list;
  int32_t count;      ///< Blocks in the list; 0: nothing to attend to
  int32_t head;       ///< In the tensor
  int32_t query_row;  ///< First row in q and o
  int32_t rows;       ///< Rows that exist, up to kListRows; none: there is no such item
  int32_t position;   ///< Of the first row in its sequence
  int32_t key_row;    ///< First row of the sequence in k and v
};

/// What the consumers compute next.
struct ListTriple {
  int32_t kv_head;  ///< kNoWork: the counter has run out
  ListItem items[kListConsumers];
};

/// What a stage holds.
struct Step {
  int32_t key_row;  ///< First of kListKeys rows of k and v
  int32_t flags;    ///< Not negative

  static constexpr int32_t kLast = 1;  ///< Of the triple
  /// The consumer keeps these keys.
  __host__ __device__ static constexpr int32_t used_by(int consumer) { return 2 << consumer; }
  /// Its item keeps no others after these.
  __host__ __device__ static constexpr int32_t ends(int consumer) {
    return used_by(consumer) << kListConsumers;
  }
  /// Some row of its item does not see all of them.
  __host__ __device__ static constexpr int32_t masked(int consumer) {
    return used_by(consumer) << 2 * kListConsumers;
  }

  /// How many steps on the next one is that the consumer keeps, up to kMostAhead; 0: not known, one after the other.
  static constexpr int kMostAhead = 15;
  __host__ __device__ static constexpr int32_t ahead(int consumer, int32_t steps) {
    return steps << ahead_shift(consumer);
  }
  __host__ __device__ static constexpr int ahead_of(int consumer, int32_t flags) {
    return flags >> ahead_shift(consumer) & kMostAhead;
  }

 private:
  __host__ __device__ static constexpr int ahead_shift(int consumer) {
    return 1 + 3 * kListConsumers + 4 * consumer;
  }
};

template <int kHeadDim>
struct SparseShared {
  static constexpr int kStages = kHeadDim == 128 ? 5 : 10;
  static constexpr uint32_t kTileBytes = kListKeys * kHeadDim * sizeof(bf16);
  static_assert(kListKeys == kListRows, "one box shape serves q, k and v");
  static_assert(kStages >= 2, "or consumers and loader wait for each other");

  alignas(1024) bf16 q[kListConsumers][kListRows * kHeadDim];
  alignas(1024) bf16 k[kStages][kListKeys * kHeadDim];
  alignas(1024) bf16 v[kStages][kListKeys * kHeadDim];
  Step steps[kStages];
  ListTriple work[kWorkSlots];
  uint64_t work_full[kWorkSlots], work_empty[kWorkSlots];
  uint64_t q_full[kListConsumers], q_empty[kListConsumers];
  uint64_t full[kStages], empty[kStages];

  /// By one thread, before any other uses the barriers.
  __device__ void initialise_barriers() {
    for (int i = 0; i < kWorkSlots; ++i) {
      ptx::mbarrier_init(work_full[i], 1);
      // Consumers, the loader's warp, the thread that loads queries.
      ptx::mbarrier_init(work_empty[i], kListConsumers * kGroupThreads + 32 + 1);
    }
    for (int i = 0; i < kListConsumers; ++i) {
      ptx::mbarrier_init(q_full[i], 1);
      ptx::mbarrier_init(q_empty[i], kGroupWarps);
    }
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(full[i], 1);
      ptx::mbarrier_init(empty[i], kListConsumers * kGroupWarps);
    }
    ptx::fence_mbarrier_init();
  }
};

/// Starts the copy of a tile of q, k or v: 64 rows of a head from `row` on. Its bytes count on `full`.
template <int kHeadDim>
__device__ void load_rows(bf16* to, const CUtensorMap& map, int head, int row, uint64_t& full) {
  for (int column = 0; column < kHeadDim; column += kPanel) {
    ptx::tma_load_3d(to + column * kListRows, map, column, head, row, full);
  }
}

// ---- scheduler

/// Items of a kv head in the order of work: places in its order, as many as are together, query head, one of these places,
/// 64-row piece of the query block.
template <int kBlockSize>
__device__ ListItem find_item(const SparseParams& p, int32_t kv_number, const HeadGroup& group,
                              int32_t number) {
  constexpr int kPieces = kBlockSize / kListRows;
  const int32_t together = p.rows_together[kv_number];
  const int32_t place = number / (together * group.count * kPieces) * together;
  const int32_t of_head = min(together, p.block_rows - place) * kPieces;
  const int32_t rest = number - place * group.count * kPieces;
  const int32_t head = group.first + rest / of_head;
  const ListRow row = list_row(p, kv_number, place + rest % of_head / kPieces, head);
  const int32_t first = rest % kPieces * kListRows;
  const Segment& segment = p.segments[row.segment];
  const int32_t rows = row.rows - first;
  return {.list = row.list,
          .count = rows > 0 ? row.count : 0,
          .head = p.head_begin + head,
          .query_row = static_cast<int32_t>(segment.queries.row) + row.first + first,
          .rows = rows < kListRows ? rows : kListRows,
          .position = row.position + first,
          .key_row = static_cast<int32_t>(segment.key_row)};
}

/// Triple number `triple`: kv heads one after the other, each one's items three by three. False: there is none.
template <int kBlockSize>
__device__ bool find_triple(const SparseParams& p, int32_t triple, ListTriple& out) {
  const int32_t kv_heads = kv_heads_used(p);
  for (int32_t number = 0; number < kv_heads; ++number) {
    const HeadGroup group = head_group(p, number);
    const int32_t items = p.block_rows * group.count * (kBlockSize / kListRows);
    const int32_t triples = (items - 1) / kListConsumers + 1;
    if (triple >= triples) {
      triple -= triples;
      continue;
    }
    out.kv_head = p.head_begin / (p.heads / p.kv_heads) + number;
    for (int i = 0; i < kListConsumers; ++i) {
      const int32_t item = kListConsumers * triple + i;
      if (item < items) {
        out.items[i] = find_item<kBlockSize>(p, number, group, item);
      } else {
        out.items[i] = {};
      }
    }
    return true;
  }
  return false;
}

/// One thread. Runs a triple ahead of the others, so that nobody waits for the counter or the tables.
template <int kHeadDim, int kBlockSize>
__device__ void schedule_triples(SparseShared<kHeadDim>& shared, const SparseParams& p) {
  for (Ring<kWorkSlots> slot;; slot.advance()) {
    const int32_t triple = atomicAdd(p.work_counter, 1);
    ptx::mbarrier_wait_asleep(shared.work_empty[slot.index], slot.parity ^ 1);
    ListTriple& work = shared.work[slot.index];
    const bool found = find_triple<kBlockSize>(p, triple, work);
    if (!found) work.kv_head = kNoWork;
    ptx::mbarrier_arrive(shared.work_full[slot.index]);
    if (!found) return;
    for (const ListItem& item : work.items) {
      if (item.count > 0) ptx::prefetch_to_l2(item.list);
    }
  }
}

// ---- queries

/// One thread. Loads each item's q as soon as the consumer is through with its last one; until then L2 has it.
template <int kHeadDim>
__device__ void fetch_queries(SparseShared<kHeadDim>& shared, const CUtensorMap& q_map) {
  uint32_t parity[kListConsumers] = {};
  for (Ring<kWorkSlots> slot;; slot.advance()) {
    ptx::mbarrier_wait(shared.work_full[slot.index], slot.parity);
    const ListTriple& work = shared.work[slot.index];
    if (work.kv_head == kNoWork) return;
#pragma unroll
    for (int i = 0; i < kListConsumers; ++i) {
      const ListItem& item = work.items[i];
      if (item.count == 0) continue;
      for (int column = 0; column < kHeadDim; column += kPanel) {
        ptx::tma_prefetch_3d(q_map, column, item.head, item.query_row);
      }
    }
#pragma unroll
    for (int i = 0; i < kListConsumers; ++i) {
      const ListItem& item = work.items[i];
      if (item.count == 0) continue;
      ptx::mbarrier_wait_asleep(shared.q_empty[i], parity[i] ^ 1);
      parity[i] ^= 1;
      ptx::mbarrier_arrive_expect(shared.q_full[i], SparseShared<kHeadDim>::kTileBytes);
      load_rows<kHeadDim>(shared.q[i], q_map, item.head, item.query_row, shared.q_full[i]);
    }
    ptx::mbarrier_arrive(shared.work_empty[slot.index]);
  }
}

}  // namespace seer::cuda::hopper
