// What the launchers of the portable attention kernels, dense and sparse, have in common.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

#include "src/core/error.h"

namespace seer::cuda::portable {

inline void check_rows(const char* name, const __nv_bfloat16* rows, int64_t stride) {
  if (reinterpret_cast<uintptr_t>(rows) % 16 != 0 || stride % 8 != 0) {
    fail("attention: rows of {} must begin at multiples of 16 bytes, not at {} with a stride of {} elements",
         name, static_cast<const void*>(rows), stride);
  }
}

/// Calls f.operator()<head_dim>().
template <typename F>
auto with_head_dim(int64_t head_dim, F f) {
  switch (head_dim) {
    case 16:
      return f.template operator()<16>();
    case 32:
      return f.template operator()<32>();
    case 64:
      return f.template operator()<64>();
    case 96:
      return f.template operator()<96>();
    case 128:
      return f.template operator()<128>();
    case 256:
      return f.template operator()<256>();
    default:
      fail("attention: head_dim {} is not among 16, 32, 64, 96, 128, 256", head_dim);
  }
}

}  // namespace seer::cuda::portable
