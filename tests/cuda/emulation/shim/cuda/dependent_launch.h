// Stands before cuda/dependent_launch.h on the include path of emulated kernels: one kernel after the other, so
// that a wait for the one before that is missing does not show.
#pragma once

#include "cuda/check.h"
#include "tests/cuda/emulation/launch.h"

namespace seer::cuda {

inline void let_next_kernel_start() {}
inline void wait_for_kernel_before() {}

template <typename... Parameters, typename... Arguments>
void launch_dependent(const char*, void (*kernel)(Parameters...), dim3 blocks, unsigned threads,
                      size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  emulation::launch(kernel, blocks, static_cast<int>(threads), static_cast<uint32_t>(shared_bytes), stream,
                    arguments...);
}

}  // namespace seer::cuda
