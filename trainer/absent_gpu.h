// A GPU that is not here, known by its data sheet: enough to plan a run for it, nothing can be run on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/ops/backend.h"
#include "trainer/run_config.h"
#include "trainer/speed_probe.h"

namespace seer {

struct GpuSheet {
  std::string name;  ///< As `plan --gpu` takes it
  double memory_gb;  ///< What the driver says it has: less than the name promises, in other units
  int major;         ///< Compute capability
  int sm_count;
  double bf16_tflops;  ///< Dense, accumulated in fp32
  double bandwidth_gbs;
};

const std::vector<GpuSheet>& known_gpus();
/// "h100-80gb, h200, ..."
std::string known_gpu_names();
/// Throws a usage Error that lists the known names.
const GpuSheet& find_gpu(const std::string& name);

/// Answers as the CUDA backend would on that GPU. Throws Error in a build without CUDA: scratch sizes are its kernels'.
std::unique_ptr<Backend> make_absent_gpu(const GpuSheet& sheet, const RunConfig& config);

/// The shares of its peaks that our steps reach on an H200; attention's portable kernel takes less of them.
MachineSpeed expected_speed(const GpuSheet& sheet);

}  // namespace seer
