// The Hopper attention kernel's shared memory, and the two warps that keep the consumers fed: the scheduler
// takes work from the counter and looks up everything about it, the loader walks its key tiles with TMA.
// hopper.cu has the overview.
#pragma once

#include "cuda/attention/attention.h"
#include "cuda/attention/ptx_sm90.cuh"
#include "cuda/device_code.cuh"

namespace seer::cuda::hopper {

constexpr int kKeyTile = 128;
constexpr int kConsumers = 2;  ///< Warp groups that compute, 64 rows each
constexpr int kConsumerRows = kQueryTile / kConsumers;
constexpr int kGroupThreads = 128;  ///< Of a warp group
constexpr int kThreads = kGroupThreads * (1 + kConsumers);
constexpr int kConsumerWarps = kConsumers * kGroupThreads / 32;
constexpr int kWorkSlots = 2;
constexpr int kPanel = 64;  ///< Elements in 128 bytes: tiles lie in panels [D / 64][128 rows][64], swizzled

/// One query tile of one head, ready to compute.
struct Work {
  int32_t head;           ///< In the range; kNoWork: the counter has run out
  int32_t query_row;      ///< First row in q and o
  int32_t rows;           ///< Rows that exist, up to kQueryTile
  int32_t position;       ///< Of the first row in its sequence
  int32_t key_row;        ///< First row of the sequence in k and v
  int32_t key_tiles;      ///< Tiles of keys that the last row sees
  int32_t block_rows;     ///< Block rows of the sequence from this tile's first to the last
  int32_t block_columns;  ///< N of the sequence
  float* maxima;          ///< [block_rows, block_columns] of block_log_max
};
constexpr int32_t kNoWork = -1;

template <int kHeadDim>
struct Shared {
  static constexpr int kStages = kHeadDim == 128 ? 2 : 4;
  static constexpr uint32_t kTileBytes = kKeyTile * kHeadDim * sizeof(bf16);
  static_assert(kKeyTile == kQueryTile, "one box shape serves q, k and v");

  alignas(1024) bf16 q[kQueryTile * kHeadDim];
  alignas(1024) bf16 k[kStages][kKeyTile * kHeadDim];
  alignas(1024) bf16 v[kStages][kKeyTile * kHeadDim];
  float logsumexp[kQueryTile];  ///< log2, of the tile that is being finished
  Work work[kWorkSlots];
  uint64_t work_full[kWorkSlots], work_empty[kWorkSlots];
  uint64_t q_full, q_empty;
  uint64_t k_full[kStages], k_empty[kStages];
  uint64_t v_full[kStages], v_empty[kStages];

  /// By one thread, before any other uses the barriers. A buffer is empty once every consumer warp has said
  /// so.
  __device__ void initialise_barriers() {
    for (int i = 0; i < kWorkSlots; ++i) {
      ptx::mbarrier_init(work_full[i], 1);
      ptx::mbarrier_init(work_empty[i], kConsumers * kGroupThreads + 1);  // consumer threads and loader
    }
    ptx::mbarrier_init(q_full, 1);
    ptx::mbarrier_init(q_empty, kConsumerWarps);
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(k_full[i], 1);
      ptx::mbarrier_init(k_empty[i], kConsumerWarps);
      ptx::mbarrier_init(v_full[i], 1);
      ptx::mbarrier_init(v_empty[i], kConsumerWarps);
    }
    ptx::fence_mbarrier_init();
  }
};

/// Where a role stands in a ring of buffers. Full barriers are waited for with `parity`, empty ones with
/// `parity ^ 1`.
template <int kSize>
struct Ring {
  int index = 0;
  uint32_t parity = 0;

  __device__ void advance() {
    if (++index == kSize) {
      index = 0;
      parity ^= 1;
    }
  }
};

/// Everything about a piece of work, straight into its slot: the scheduler has few registers.
__device__ inline void look_up(const AttentionParams& p, int64_t piece, Work& work) {
  const WorkItem item = work_item(piece, p.num_tiles, p.head_count, p.heads / p.kv_heads);
  const QueryTile tile = p.tiles[item.tile];
  const Segment& segment = p.segments[tile.segment];
  const int64_t rows = segment.queries.rows - tile.row;
  work.head = item.head;
  work.query_row = static_cast<int32_t>(segment.queries.row) + tile.row;
  work.rows = rows < kQueryTile ? static_cast<int32_t>(rows) : kQueryTile;
  work.position = static_cast<int32_t>(segment.queries.position) + tile.row;
  work.key_row = static_cast<int32_t>(segment.key_row);
  work.key_tiles = (work.position + work.rows + kKeyTile - 1) / kKeyTile;
  if (p.block_log_max == nullptr) return;
  const ScoreSegment& matrix = p.blocks[tile.segment];
  const int32_t row = tile.row / p.block_size;
  work.block_rows = static_cast<int32_t>(matrix.queries.rows) - row;
  work.block_columns = static_cast<int32_t>(matrix.blocks);
  work.maxima = p.block_log_max + matrix.matrix * p.head_count +
                (item.head * matrix.queries.rows + row) * matrix.blocks;
}

/// One thread. Runs a piece ahead of the others, so that nobody waits for the counter or the tables.
template <int kHeadDim>
__device__ void schedule(Shared<kHeadDim>& shared, const AttentionParams& p) {
  const int64_t pieces = static_cast<int64_t>(p.num_tiles) * p.head_count;
  for (Ring<kWorkSlots> slot;; slot.advance()) {
    const int64_t piece = atomicAdd(p.tile_counter, 1);
    ptx::mbarrier_wait(shared.work_empty[slot.index], slot.parity ^ 1);
    if (piece < pieces) {
      look_up(p, piece, shared.work[slot.index]);
    } else {
      shared.work[slot.index].head = kNoWork;
    }
    ptx::mbarrier_arrive(shared.work_full[slot.index]);
    if (piece >= pieces) return;
  }
}

/// One thread. Keys run one tile ahead of values, in the order the consumers need them.
template <int kHeadDim, bool kOutput>
__device__ void load(Shared<kHeadDim>& shared, const CUtensorMap& q_map, const CUtensorMap& k_map,
                     const CUtensorMap& v_map, const AttentionParams& p) {
  using Shared = Shared<kHeadDim>;
  ptx::prefetch_tensor_map(q_map);
  ptx::prefetch_tensor_map(k_map);
  if constexpr (kOutput) ptx::prefetch_tensor_map(v_map);
  const auto load_tile = [](bf16* to, const CUtensorMap& map, int head, int row, uint64_t& full) {
    ptx::mbarrier_arrive_expect(full, Shared::kTileBytes);
    for (int column = 0; column < kHeadDim; column += kPanel) {
      ptx::tma_load_3d(to + column * kKeyTile, map, column, head, row, full);
    }
  };

  uint32_t q_parity = 0;
  Ring<Shared::kStages> k_stage, v_stage;
  for (Ring<kWorkSlots> slot;; slot.advance()) {
    ptx::mbarrier_wait(shared.work_full[slot.index], slot.parity);
    const Work& work = shared.work[slot.index];
    if (work.head == kNoWork) return;
    const int head = p.head_begin + work.head;
    const int kv_head = head / (p.heads / p.kv_heads);
    const int query_row = work.query_row, key_row = work.key_row, key_tiles = work.key_tiles;
    ptx::mbarrier_arrive(shared.work_empty[slot.index]);

    ptx::mbarrier_wait(shared.q_empty, q_parity ^ 1);
    q_parity ^= 1;
    load_tile(shared.q, q_map, head, query_row, shared.q_full);
    for (int tile = 0; tile <= key_tiles; ++tile) {
      if (tile < key_tiles) {
        ptx::mbarrier_wait(shared.k_empty[k_stage.index], k_stage.parity ^ 1);
        load_tile(shared.k[k_stage.index], k_map, kv_head, key_row + tile * kKeyTile,
                  shared.k_full[k_stage.index]);
        k_stage.advance();
      }
      if (kOutput && tile > 0) {
        ptx::mbarrier_wait(shared.v_empty[v_stage.index], v_stage.parity ^ 1);
        load_tile(shared.v[v_stage.index], v_map, kv_head, key_row + (tile - 1) * kKeyTile,
                  shared.v_full[v_stage.index]);
        v_stage.advance();
      }
    }
  }
}

}  // namespace seer::cuda::hopper
