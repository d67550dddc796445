// A kernel that is started while the one before it in the stream still runs (programmatic dependent launch, compute
// capability 9.0), so that its own start costs nothing: it waits for the other's end before it reads what that one wrote.
#pragma once

#include <utility>

#include <cuda_runtime.h>

#include "cuda/check.h"

namespace seer::cuda {

#ifdef __CUDACC__
/// By all threads of the kernel before: the next one may start once all its thread blocks have called this or ended.
__device__ __forceinline__ void let_next_kernel_start() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/// By all threads that read what kernels before wrote, or write what they read. Code for less than 9.0 cannot wait, and
/// must not be launched so.
__device__ __forceinline__ void wait_for_kernel_before() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#else
  __trap();
#endif
}
#endif

/// Throws Error, as check() does, if the kernel cannot be launched.
template <typename... Parameters, typename... Arguments>
void launch_dependent(const char* name, void (*kernel)(Parameters...), dim3 blocks, unsigned threads,
                      size_t shared_bytes, cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

}  // namespace seer::cuda
