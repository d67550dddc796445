// Stands before cuda/attention/tensor_map.h on the include path of emulated kernels: tensor maps that the emulated TMA
// reads, made without a driver.
#pragma once

#include <cstdint>

#include <cuda.h>
#include <cuda_bf16.h>

#include "src/core/error.h"
#include "tests/cuda/emulation/tensor_copies.h"

namespace seer::cuda::hopper {

inline CUtensorMap tensor_map(const char* name, const __nv_bfloat16* x, int64_t rows, int64_t heads,
                              int64_t head_dim, int64_t stride, int box_rows) {
  if (reinterpret_cast<uintptr_t>(x) % 16 != 0 || stride % 8 != 0)
    fail("attention: TMA cannot read {} with a stride of {}", name, stride);
  return emulation::encode({reinterpret_cast<const uint16_t*>(x), rows, heads, head_dim, stride, box_rows});
}

}  // namespace seer::cuda::hopper
