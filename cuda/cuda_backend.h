// The CUDA backend: one NVIDIA GPU of compute capability 8.0 or later.
//
// Two precisions. bf16 is what training uses: bf16 weights and activations, fp32 inside every operation,
// rounded once, fused attention kernels. fp32 is the reference: fp32 throughout, no tensor cores.
#pragma once

#include <memory>

#include "src/ops/backend.h"

namespace seer {

enum class CudaPrecision { kBf16, kFp32 };

struct CudaOptions {
  int device = 0;  ///< Ordinal among the visible devices
  CudaPrecision precision = CudaPrecision::kBf16;
  /// Multiprocessors that attention, whose thread blocks stay to the end, leaves to exchanges with other GPUs.
  int reserved_sms = 0;
  /// Take the portable attention kernel where the Hopper one would run as well: for tests and measurements.
  bool portable_attention = false;
};

/// Throws Error saying what is missing: a driver, a new enough one, a device, its compute capability.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options = {});

/// GPUs that this process may use; 0 if there is no driver.
int cuda_device_count();

/// The UUID of the device of this process, or of its slice of one (MIG): two processes with the same one share it.
std::string cuda_device_id();

/// Whether make_cuda_backend() would find device 0; if not, `why` (unless null) holds its message.
bool cuda_available(std::string* why = nullptr);

}  // namespace seer
