// How fast tiles of K and V can come to where they are multiplied: the ruler of sparse attention.
#pragma once

#include <cstddef>

#include "cuda/bench/timing.h"

namespace seer::cuda {

struct TileReadCeiling {
  Timing timing;
  double gigabytes_per_second = 0;
};

/// Copies of 16 KB into shared memory from random tiles among `working_set` bytes, by all multiprocessors at once: bulk
/// copies from compute capability 9.0 on, cp.async before. What is in L2, and what comes from memory, follows from the
/// working set.
TileReadCeiling measure_tile_reads(size_t working_set, GpuTimer& timer);

}  // namespace seer::cuda
