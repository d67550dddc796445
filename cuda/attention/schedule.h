// The order in which the fused attention kernels compute query tiles.
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "cuda/attention/attention.h"

namespace seer::cuda {

/// Fills `tiles` with all query tiles of all segments, those that see most keys first, equal ones by segment.
/// Started first, the long tiles leave the short ones to level out the end. `segments` and `tiles` are device
/// pointers; num_tiles is the sum of ceil(queries.rows / kQueryTile). Nothing is copied to or from the host.
void order_tiles(const Segment* segments, int32_t num_segments, int32_t num_tiles, QueryTile* tiles,
                 cudaStream_t stream);

}  // namespace seer::cuda
