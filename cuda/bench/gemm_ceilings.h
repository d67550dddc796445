// What this device reaches in practice: the rulers beside which the bench puts our kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/bench/timing.h"

namespace seer::cuda {

/// C [m, n] = A [m, k] W [n, k]^T, row-major: a linear layer of m tokens.
struct GemmShape {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
};

struct GemmCeiling {
  Timing timing;
  double tflops = 0;  ///< 2mnk in the median time
};

/// The fastest of the algorithms that cuBLASLt proposes, bf16 with fp32 accumulation, on random data. With few repeats
/// this is what the device does in a burst; one that goes on for long meets the power limit (TimerOptions::rest).
GemmCeiling measure_gemm(const GemmShape& shape, GpuTimer& timer);

struct CopyCeiling {
  Timing timing;
  double gigabytes_per_second = 0;  ///< Bytes read and bytes written
};

/// A copy between two buffers of `bytes` each on the device; choose many times its L2.
CopyCeiling measure_copy(size_t bytes, GpuTimer& timer);

}  // namespace seer::cuda
