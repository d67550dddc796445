// The loader of the Hopper sparse attention kernel: one warp merges the lists of a triple and loads every tile of keys
// and values that any of its items keeps. sparse_hopper.cu has the overview.
//
// A step is due every 500 to 1500 cycles, so the lists are not walked block by block: 32 neighbouring tiles, a window,
// are looked at together, a bit for each, and lane t works out what tile t's step says. A window starts at the first
// tile that is left of any list, however far away that is. The next window is known before this one's steps are issued:
// the last of them says what follows it. Tiles that do not lie on a window's rows, as those of another sequence in the
// pack, have windows of their own: a triple of unaligned sequences takes turns of up to 32 steps. Where blocks of 128 of
// aligned sequences lie half a block apart, a tile at a window's end may be loaded once more for the next one.
#pragma once

#include "cuda/attention/sparse_hopper_roles.cuh"

namespace seer::cuda::hopper {

constexpr int kWindowTiles = 32;

/// The rest of an item's list, as the first rows of its blocks in k and v: each lane holds one of the next 32 and one of
/// the 32 after these. Blocks that no row of the item sees are left out.
template <int kBlockSize>
class KeyList {
  static constexpr int kTiles = kBlockSize / kListKeys;  ///< Of a block
  /// A block lies in a window whole or not at all.
  static constexpr uint32_t kWindowRows = (kWindowTiles - kTiles + 1) * kListKeys;

 public:
  __device__ void begin(const ListItem& item) {
    next_ = item.list + threadIdx.x % 32;
    left_ = item.count - static_cast<int32_t>(threadIdx.x % 32);
    key_row_ = item.key_row;
    first_seen_ = item.key_row + item.position;
    end_ = first_seen_ + item.rows;
    near_ = read();
    far_ = read();
  }

  /// This lane's next block, kNoKeys if it has none. Only a list without any blocks has none in any lane.
  __device__ int32_t row() const { return near_; }

  /// Takes the blocks off the list that lie in the window, which starts at row `window`: bit t stands for the tile of rows
  /// [window + 64 t, window + 64 t + 64). Blocks in between that do not begin with a tile, as those of another sequence,
  /// are left for a window of their own.
  __device__ uint32_t take(int32_t window) {
    const uint32_t tiles = __reduce_or_sync(kWholeWarp, take(near_, window) | take(far_, window));
    if (!__any_sync(kWholeWarp, near_ != kNoKeys)) {
      near_ = far_;
      far_ = read();
    }
    return tiles;
  }

  __device__ bool ended() const { return !__any_sync(kWholeWarp, near_ != kNoKeys); }

  /// Whether the item's first row does not see all of the tile that begins there.
  __device__ bool masked(int32_t row) const { return row + kListKeys - 1 > first_seen_; }

 private:
  __device__ int32_t read() {
    int32_t row = kNoKeys;
    if (left_ > 0) row = key_row_ + __ldg(next_) * kBlockSize;
    next_ += 32;
    left_ -= 32;
    return row < end_ ? row : kNoKeys;
  }

  __device__ uint32_t take(int32_t& row, int32_t window) const {
    const auto distance = static_cast<uint32_t>(row - window);
    if (distance >= kWindowRows || distance % kListKeys != 0) return 0;
    uint32_t tiles = 1;
    if (kTiles == 2 && row + kListKeys < end_) tiles = 3;
    row = kNoKeys;
    return tiles << distance / kListKeys;
  }

  const int32_t* next_;  ///< This lane's entry after `far_`
  int32_t left_;         ///< Entries from there to the list's end
  int32_t key_row_;      ///< Of the sequence's first key
  int32_t first_seen_;   ///< Of the last key that the item's first row sees
  int32_t end_;          ///< Behind the last that any of its rows sees
  int32_t near_, far_;
};

/// What a triple keeps of 32 neighbouring tiles of keys.
struct KeyWindow {
  int32_t row;                    ///< First row in k and v; kNoKeys: the lists have ended
  uint32_t kept[kListConsumers];  ///< By each item: bit t stands for tile t
  uint32_t ended;                 ///< Items that keep nothing behind it, a bit each

  /// All of the warp.
  template <int kBlockSize>
  __device__ static KeyWindow next(KeyList<kBlockSize> (&lists)[kListConsumers]) {
    int32_t row = kNoKeys;
#pragma unroll
    for (const auto& list : lists) row = min(row, list.row());
    KeyWindow window = {__reduce_min_sync(kWholeWarp, row), {}, 0};
    if (window.row == kNoKeys) return window;
#pragma unroll
    for (int i = 0; i < kListConsumers; ++i) {
      window.kept[i] = lists[i].take(window.row);
      window.ended |= static_cast<uint32_t>(lists[i].ended()) << i;
    }
    return window;
  }

  __device__ uint32_t tiles() const {
    uint32_t tiles = 0;
#pragma unroll
    for (const uint32_t mine : kept) tiles |= mine;
    return tiles;
  }

  /// Step::flags of a tile that is kept, but for the masks; `after` is the next window.
  __device__ int32_t flags(int tile, const KeyWindow& after) const {
    const uint32_t behind = tiles() >> tile >> 1;  // from the next tile on
    const int steps_behind = __popc(behind);
    int32_t flags = steps_behind == 0 && after.row == kNoKeys ? Step::kLast : 0;
#pragma unroll
    for (int i = 0; i < kListConsumers; ++i) {
      const uint32_t mine = kept[i] >> tile;
      if ((mine & 1) != 0) flags |= Step::used_by(i);
      if (mine == 1 && (ended >> i & 1) != 0) flags |= Step::ends(i);
      int ahead = steps_up_to(mine >> 1, behind);
      if (mine >> 1 == 0 && after.kept[i] != 0)
        ahead = steps_behind + steps_up_to(after.kept[i], after.tiles());
      if (ahead <= Step::kMostAhead) flags |= Step::ahead(i, ahead);
    }
    return flags;
  }

 private:
  /// Steps among `tiles` up to the first of `mine`, that one included; 0: there is none.
  __device__ static int steps_up_to(uint32_t mine, uint32_t tiles) {
    return __popc(tiles & (mine ^ (mine - 1)) & (mine != 0 ? kWholeWarp : 0));
  }
};

/// One warp.
template <int kHeadDim, int kBlockSize>
__device__ void load_listed(SparseShared<kHeadDim>& shared, const CUtensorMap& k_map,
                            const CUtensorMap& v_map) {
  using Shared = SparseShared<kHeadDim>;
  ptx::prefetch_tensor_map(k_map);
  ptx::prefetch_tensor_map(v_map);
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const bool leads = ptx::elect_one();
  Ring<Shared::kStages> stage;
  for (Ring<kWorkSlots> slot;; slot.advance()) {
    ptx::mbarrier_wait(shared.work_full[slot.index], slot.parity);
    const ListTriple& work = shared.work[slot.index];
    const int kv_head = uniform(work.kv_head);
    if (kv_head == kNoWork) return;
    KeyList<kBlockSize> lists[kListConsumers];
#pragma unroll
    for (int i = 0; i < kListConsumers; ++i) lists[i].begin(work.items[i]);
    ptx::mbarrier_arrive(shared.work_empty[slot.index]);

    KeyWindow window = KeyWindow::next(lists);
    do {  // a triple without any keys is one empty step
      const bool empty = window.row == kNoKeys;
      const KeyWindow after = empty ? window : KeyWindow::next(lists);
      int32_t flags = Step::kLast;
      if (!empty) {
        flags = window.flags(lane, after);
#pragma unroll
        for (int i = 0; i < kListConsumers; ++i) {
          if (lists[i].masked(window.row + lane * kListKeys)) flags |= Step::masked(i);
        }
      }
      uint32_t left = empty ? 1 : window.tiles();
      do {
        const int tile = __ffs(static_cast<int>(left)) - 1;
        left &= left - 1;
        const int32_t row = empty ? kNoKeys : window.row + tile * kListKeys;
        ptx::mbarrier_wait(shared.empty[stage.index], stage.parity ^ 1);
        __syncwarp();  // nobody still asks for this phase when the next one ends
        uint64_t& full = shared.full[stage.index];
        const int32_t its_flags = __shfl_sync(kWholeWarp, flags, tile);
        if (leads) {  // who writes arrives: racecheck does not know what __syncwarp orders
          shared.steps[stage.index] = {row, its_flags};
          if (row != kNoKeys) {
            ptx::mbarrier_arrive_expect(full, 2 * Shared::kTileBytes);
            load_rows<kHeadDim>(shared.k[stage.index], k_map, kv_head, row, full);
            load_rows<kHeadDim>(shared.v[stage.index], v_map, kv_head, row, full);
          } else {
            ptx::mbarrier_arrive(full);
          }
        }
        stage.advance();
      } while (left != 0);
      window = after;
    } while (window.row != kNoKeys);
  }
}

}  // namespace seer::cuda::hopper
