// The Hopper sparse attention kernel's shared memory, and the two warps that keep the consumers fed: the scheduler
// pairs list rows, the loader merges a pair's lists and loads what either keeps. sparse_hopper.cu has the overview.
#pragma once

#include "cuda/attention/hopper_roles.cuh"
#include "cuda/attention/sparse.h"

namespace seer::cuda::hopper {

constexpr int kListRows = 64;  ///< Query rows of a consumer
constexpr int kListKeys = 64;  ///< Keys of a stage
constexpr int kReach = 2;      ///< Steps that the loader looks ahead
static_assert(kReach >= 1 && kReach <= 3, "two bits of a step's flags hold it");
constexpr int32_t kNoKeys = INT32_MAX;
constexpr int32_t kNoStep = INT32_MIN;  ///< Below every key_row

/// The same value, which all lanes of the warp have, in a uniform register: ptxas then knows that branches on it are
/// uniform and keeps stages and descriptors in uniform registers too.
__device__ inline int uniform(int value) {
  return __reduce_max_sync(0xFFFFFFFFU, value);
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

/// What the two consumers compute next.
struct ListPair {
  int32_t kv_head;  ///< kNoWork: the counter has run out
  ListItem items[kConsumers];
};

/// What a stage holds.
struct Step {
  int32_t key_row;  ///< First of kListKeys rows of k and v
  uint32_t flags;

  static constexpr uint32_t kLast = 1;  ///< Of the pair
  /// The consumer keeps these keys.
  __host__ __device__ static constexpr uint32_t used_by(int consumer) { return 2U << consumer; }
  /// How many steps further on is the next that the consumer keeps; 0: more than kReach, or there is none.
  __host__ __device__ static constexpr uint32_t next_used_at(int consumer, uint32_t distance) {
    return distance << (3 + 2 * consumer);
  }
  __device__ int next_used(int consumer) const { return flags >> (3 + 2 * consumer) & 3; }
};

template <int kHeadDim>
struct SparseShared {
  static constexpr int kStages = kHeadDim == 128 ? 6 : 8;
  static constexpr uint32_t kTileBytes = kListKeys * kHeadDim * sizeof(bf16);
  static_assert(kListKeys == kListRows, "one box shape serves q, k and v");
  static_assert(kStages > 2 * kReach, "or consumers and loader wait for each other");

  alignas(1024) bf16 q[kConsumers][kListRows * kHeadDim];
  alignas(1024) bf16 k[kStages][kListKeys * kHeadDim];
  alignas(1024) bf16 v[kStages][kListKeys * kHeadDim];
  Step steps[kStages];
  ListPair work[kWorkSlots];
  uint64_t work_full[kWorkSlots], work_empty[kWorkSlots];
  uint64_t q_full[kConsumers], q_empty[kConsumers];
  uint64_t full[kStages], empty[kStages];

  /// By one thread, before any other uses the barriers.
  __device__ void initialise_barriers() {
    for (int i = 0; i < kWorkSlots; ++i) {
      ptx::mbarrier_init(work_full[i], 1);
      ptx::mbarrier_init(work_empty[i], kConsumers * kGroupThreads + 32);  // consumers and the loader's warp
    }
    for (int i = 0; i < kConsumers; ++i) {
      ptx::mbarrier_init(q_full[i], 1);
      ptx::mbarrier_init(q_empty[i], kConsumerWarps / kConsumers);
    }
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(full[i], 1);
      ptx::mbarrier_init(empty[i], kConsumerWarps);
    }
    ptx::fence_mbarrier_init();
  }
};

// ---- scheduler

/// Items of a kv head in the order of work: place in its order, query head, 64-row piece of the query block.
template <int kBlockSize>
__device__ ListItem find_item(const SparseParams& p, int32_t kv_number, const HeadGroup& group,
                              int32_t number) {
  constexpr int kPieces = kBlockSize / kListRows;
  const int32_t first = number % kPieces * kListRows;
  const int32_t head = group.first + number / kPieces % group.count;
  const ListRow row = list_row(p, kv_number, number / kPieces / group.count, head);
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

/// Pair number `pair`: kv heads one after the other, each one's items two by two. False: there is none.
template <int kBlockSize>
__device__ bool find_pair(const SparseParams& p, int32_t pair, ListPair& out) {
  const int32_t kv_heads = kv_heads_used(p);
  for (int32_t number = 0; number < kv_heads; ++number) {
    const HeadGroup group = head_group(p, number);
    const int32_t items = p.block_rows * group.count * (kBlockSize / kListRows);
    const int32_t pairs = (items + 1) / kConsumers;
    if (pair >= pairs) {
      pair -= pairs;
      continue;
    }
    out.kv_head = p.head_begin / (p.heads / p.kv_heads) + number;
    out.items[0] = find_item<kBlockSize>(p, number, group, kConsumers * pair);
    if (kConsumers * pair + 1 < items) {
      out.items[1] = find_item<kBlockSize>(p, number, group, kConsumers * pair + 1);
    } else {
      out.items[1] = {};
    }
    return true;
  }
  return false;
}

/// One thread. Runs a pair ahead of the others, so that nobody waits for the counter or the tables.
template <int kHeadDim, int kBlockSize>
__device__ void schedule_pairs(SparseShared<kHeadDim>& shared, const SparseParams& p) {
  for (Ring<kWorkSlots> slot;; slot.advance()) {
    const int32_t pair = atomicAdd(p.work_counter, 1);
    ptx::mbarrier_wait(shared.work_empty[slot.index], slot.parity ^ 1);
    ListPair& work = shared.work[slot.index];
    const bool found = find_pair<kBlockSize>(p, pair, work);
    if (!found) work.kv_head = kNoWork;
    ptx::mbarrier_arrive(shared.work_full[slot.index]);
    if (!found) return;
    for (const ListItem& item : work.items) {
      if (item.count > 0) ptx::prefetch_to_l2(item.list);
    }
  }
}

// ---- loader

/// Walks an item's list in tiles of kListKeys keys, by a whole warp: each lane holds one of 32 blocks, so that the loader
/// seldom waits for memory.
template <int kBlockSize>
class KeyCursor {
  static constexpr int kTiles = kBlockSize / kListKeys;  ///< Of a block

 public:
  /// Before advance(), so that memory has time to answer.
  __device__ void begin(const ListItem& item) {
    list_ = item.list;
    count_ = item.count;
    key_row_ = item.key_row;
    end_ = item.key_row + item.position + item.rows;
    next_ = 0;
    blocks_ = read(0);
  }

  /// First row of the tile's keys in k and v; kNoKeys at the end of the list and of what the item's rows see.
  __device__ int32_t row() const { return row_; }

  __device__ void advance() {
    row_ = kNoKeys;
    const int number = next_ / kTiles;
    if (number >= count_) return;
    const int block = uniform(threadIdx.x % 32 == number % 32 ? blocks_ : 0);
    const int32_t row = key_row_ + block * kBlockSize + next_ % kTiles * kListKeys;
    if (row < end_) row_ = row;
    if (++next_ % (32 * kTiles) == 0) blocks_ = read(number + 1);
  }

 private:
  /// This lane's of the 32 blocks that begin at number `first`.
  __device__ int32_t read(int first) const {
    const int number = first + static_cast<int>(threadIdx.x % 32);
    return number < count_ ? __ldg(list_ + number) : 0;
  }

  const int32_t* list_;
  int32_t count_;
  int32_t next_;    ///< Tile
  int32_t blocks_;  ///< This lane's of those around it
  int32_t key_row_, end_;
  int32_t row_;
};

/// One warp. A pair's lists are merged: what both items keep is loaded once.
template <int kHeadDim, int kBlockSize>
__device__ void load_listed(SparseShared<kHeadDim>& shared, const CUtensorMap& q_map,
                            const CUtensorMap& k_map, const CUtensorMap& v_map) {
  using Shared = SparseShared<kHeadDim>;
  ptx::prefetch_tensor_map(q_map);
  ptx::prefetch_tensor_map(k_map);
  ptx::prefetch_tensor_map(v_map);
  const auto load_tile = [](bf16* to, const CUtensorMap& map, int head, int row, uint64_t& full) {
    for (int column = 0; column < kHeadDim; column += kPanel) {
      ptx::tma_load_3d(to + column * kListKeys, map, column, head, row, full);
    }
  };

  const bool leads = threadIdx.x % 32 == 0;
  uint32_t q_parity[kConsumers] = {};
  Ring<Shared::kStages> stage;
  for (Ring<kWorkSlots> slot;; slot.advance()) {
    ptx::mbarrier_wait(shared.work_full[slot.index], slot.parity);
    const ListPair& work = shared.work[slot.index];
    const int kv_head = work.kv_head;
    if (kv_head == kNoWork) return;
    KeyCursor<kBlockSize> cursors[kConsumers];
#pragma unroll
    for (int i = 0; i < kConsumers; ++i) cursors[i].begin(work.items[i]);
#pragma unroll
    for (int i = 0; i < kConsumers; ++i) {
      const ListItem& item = work.items[i];
      if (item.count == 0) continue;
      ptx::mbarrier_wait(shared.q_empty[i], q_parity[i] ^ 1);
      q_parity[i] ^= 1;
      __syncwarp();
      if (!leads) continue;
      ptx::mbarrier_arrive_expect(shared.q_full[i], Shared::kTileBytes);
      load_tile(shared.q[i], q_map, item.head, item.query_row, shared.q_full[i]);
    }
    ptx::mbarrier_arrive(shared.work_empty[slot.index]);
    __syncwarp();
#pragma unroll
    for (KeyCursor<kBlockSize>& cursor : cursors) cursor.advance();

    // The next tile of the merged lists, and who keeps it.
    const auto merge = [&] {
      Step tile = {min(cursors[0].row(), cursors[1].row()), 0};
      if (tile.key_row == kNoKeys) return tile;
#pragma unroll
      for (int i = 0; i < kConsumers; ++i) {
        if (cursors[i].row() != tile.key_row) continue;
        tile.flags |= Step::used_by(i);
        cursors[i].advance();
      }
      return tile;
    };
    Step step = merge();
    Step coming[kReach];
#pragma unroll
    for (Step& tile : coming) tile = merge();
    do {  // a pair without any keys is one empty step
      const int32_t row = step.key_row;
      const uint32_t used = step.flags;
      step = coming[0];
      uint32_t flags = step.key_row == kNoKeys ? used | Step::kLast : used;
#pragma unroll
      for (int i = 0; i < kConsumers; ++i) {
        uint32_t distance = 0;
#pragma unroll
        for (int d = kReach; d > 0; --d) {
          if ((coming[d - 1].flags & Step::used_by(i)) != 0) distance = d;
        }
        flags |= Step::next_used_at(i, distance);
      }
#pragma unroll
      for (int d = 1; d < kReach; ++d) coming[d - 1] = coming[d];
      coming[kReach - 1] = merge();
      ptx::mbarrier_wait(shared.empty[stage.index], stage.parity ^ 1);
      __syncwarp();  // nobody still asks for this phase when the next one ends
      if (leads) {
        shared.steps[stage.index] = {row, flags};
        uint64_t& full = shared.full[stage.index];
        if (used != 0) {
          ptx::mbarrier_arrive_expect(full, 2 * Shared::kTileBytes);
          load_tile(shared.k[stage.index], k_map, kv_head, row, full);
          load_tile(shared.v[stage.index], v_map, kv_head, row, full);
        } else {
          ptx::mbarrier_arrive(full);
        }
      }
      stage.advance();
    } while (step.key_row != kNoKeys);
  }
}

}  // namespace seer::cuda::hopper
