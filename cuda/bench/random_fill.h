// Random data for measurements: products of zeros or small integers draw less power and run faster than real ones.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace seer::cuda {

/// x[0 .. count) = normal numbers of mean 0 and this standard deviation, the same for the same seed. x must be aligned
/// to 16 bytes.
void fill_random(__nv_bfloat16* x, int64_t count, uint64_t seed, float deviation, cudaStream_t stream);

}  // namespace seer::cuda
