// Every CUDA call is checked, in one style.
#pragma once

#include <cuda_runtime.h>

#include "src/core/error.h"

namespace seer::cuda {

/// Throws Error with CUDA's own words unless `status` is success. `what` names the call or kernel.
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    fail("CUDA: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
  }
}

/// After a launch: configuration errors show at once, the rest at the next synchronisation.
inline void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

}  // namespace seer::cuda
