// Kernel launches: `kernel<<<blocks, threads, bytes, stream>>>(arguments)` as host_source.cmake writes it for the host.
//
// Thread blocks run one after the other. They share nothing but global memory and the counter that they take work from;
// so that each gets a share, a block leaves numbers out at random, and later ones find them.
#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>

#include <cuda_runtime.h>

#include "tests/cuda/emulation/faults.h"

namespace seer::emulation {

/// Of launches to come.
struct LaunchSettings {
  uint64_t seed = 0;  ///< Every choice that is left to chance follows from it.
  Injection injection;
};
LaunchSettings& launch_settings();

/// Throws Error if the kernel does what it must not, naming seed and pace.
void run_grid(dim3 blocks, int threads, uint32_t shared_bytes, const std::function<void()>& kernel);

template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 blocks, int threads, uint32_t shared_bytes, cudaStream_t,
            const std::type_identity_t<std::remove_const_t<Parameters>>&... arguments) {
  run_grid(blocks, threads, shared_bytes, [&] { kernel(arguments...); });
}

/// Of the thread block that runs.
uint3 block_index();

/// What `extern __shared__` names.
unsigned char* shared_memory();

/// atomicAdd(counter, 1) by a thread block that has others beside it.
int32_t take_from(int32_t* counter);

}  // namespace seer::emulation

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*)(Parameters...), cudaFuncAttribute, int) {
  return cudaSuccess;
}
