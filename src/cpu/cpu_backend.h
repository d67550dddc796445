// The CPU backend: fp32 activations, Eigen inside fixed tiles, the reference every other backend is tested
// against.
#pragma once

#include <memory>

#include "src/ops/backend.h"

namespace seer {

struct CpuOptions {
  int threads = 0;  ///< Workers; 0: all hardware threads. Results do not depend on it.
  /// False makes the backend refuse nothing but claim that weights must be copied into its own memory, as a
  /// GPU's must: for testing that path.
  bool reads_host_memory = true;
};

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options = {});

}  // namespace seer
