// Query tiles in the order of the keys they see, by counting.
//
// A tile's place is the number of tiles before it, and that needs no list of them: the tiles of one segment
// see
//
//   position + min((k + 1) * kQueryTile, rows),  k = 0, 1, ..      strictly increasing in k
//
// keys, so the number that see more than x has a closed form. One warp computes the place of one tile, its
// lanes sharing the segments. Measured on an H200: 8 us for 8192 tiles of one sequence, 120 us for 8192 of
// 4096.
#include "cuda/attention/schedule.h"
#include "cuda/check.h"

namespace seer::cuda {
namespace {

constexpr int kWarpSize = 32;
constexpr int kWarps = 4;
constexpr unsigned kAllLanes = 0xffffffff;

__device__ int tile_count(const Segment& segment) {
  return static_cast<int>((segment.queries.rows + kQueryTile - 1) / kQueryTile);
}

/// Keys that tile k of the segment sees.
__device__ int64_t keys_seen(const Segment& segment, int k) {
  return segment.queries.position + min((k + int64_t{1}) * kQueryTile, segment.queries.rows);
}

/// Tiles of the segment that see more than `keys` keys.
__device__ int tiles_above(const Segment& segment, int64_t keys) {
  const int tiles = tile_count(segment);
  if (tiles == 0 || keys_seen(segment, tiles - 1) <= keys) return 0;
  const int64_t whole_tiles = max((keys - segment.queries.position) / kQueryTile, int64_t{0});
  return tiles - static_cast<int>(min(whole_tiles, int64_t{tiles - 1}));
}

/// Number `tile` in the order of the segments. All lanes of the warp get the answer.
__device__ QueryTile find_tile(const Segment* segments, int num_segments, int tile) {
  const int lane = threadIdx.x % kWarpSize;
  for (int first = 0; first < num_segments; first += kWarpSize) {
    const int tiles = first + lane < num_segments ? tile_count(segments[first + lane]) : 0;
    int end = tiles;  // inclusive prefix sum
    for (int distance = 1; distance < kWarpSize; distance *= 2) {
      const int before = __shfl_up_sync(kAllLanes, end, distance);
      if (lane >= distance) end += before;
    }
    const unsigned beyond = __ballot_sync(kAllLanes, tile < end);
    if (beyond != 0) {
      const int owner = __ffs(static_cast<int>(beyond)) - 1;
      const int k = tile - __shfl_sync(kAllLanes, end - tiles, owner);
      return {first + owner, k * kQueryTile};
    }
    tile -= __shfl_sync(kAllLanes, end, kWarpSize - 1);
  }
  return {-1, 0};
}

__global__ void __launch_bounds__(kWarps* kWarpSize)
    order_tiles_kernel(const Segment* segments, int num_segments, int num_tiles, QueryTile* tiles) {
  const int number = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  if (number >= num_tiles) return;
  const QueryTile tile = find_tile(segments, num_segments, number);
  if (tile.segment < 0) return;
  const int64_t keys = keys_seen(segments[tile.segment], tile.row / kQueryTile);

  const int lane = threadIdx.x % kWarpSize;
  int place = 0;
  for (int i = lane; i < num_segments; i += kWarpSize) {
    // Equal tiles of earlier segments go before this one.
    place += tiles_above(segments[i], i < tile.segment ? keys - 1 : keys);
  }
  place = __reduce_add_sync(kAllLanes, place);
  if (lane == 0) tiles[place] = tile;
}

}  // namespace

void order_tiles(const Segment* segments, int32_t num_segments, int32_t num_tiles, QueryTile* tiles,
                 cudaStream_t stream) {
  if (num_tiles == 0) return;
  const int blocks = (num_tiles + kWarps - 1) / kWarps;
  order_tiles_kernel<<<blocks, kWarps * kWarpSize, 0, stream>>>(segments, num_segments, num_tiles, tiles);
  check_launch("order_tiles");
}

}  // namespace seer::cuda
