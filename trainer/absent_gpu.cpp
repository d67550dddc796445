#include "trainer/absent_gpu.h"

#include <algorithm>

#include <fmt/format.h>

#include "src/core/error.h"
#ifdef SEER_HAVE_CUDA
#include "cuda/attention/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/linear.h"
#include "trainer/plan_backend.h"
#endif

namespace seer {

const std::vector<GpuSheet>& known_gpus() {
  static const std::vector<GpuSheet> gpus = {
      {"a100-40gb", 42.3, 8, 108, 312, 1555}, {"a100-80gb", 85.0, 8, 108, 312, 2039},
      {"h100-80gb", 85.0, 9, 132, 989, 3350}, {"h200", 150.1, 9, 132, 989, 4800},
      {"b200", 191.0, 10, 148, 2250, 8000},   {"l40s", 47.7, 8, 142, 362, 864},
      {"rtx4090", 25.3, 8, 128, 165, 1008},
  };
  return gpus;
}

std::string known_gpu_names() {
  std::string names;
  for (const GpuSheet& gpu : known_gpus()) names += (names.empty() ? "" : ", ") + gpu.name;
  return names;
}

const GpuSheet& find_gpu(const std::string& name) {
  const auto& gpus = known_gpus();
  const auto gpu = std::find_if(gpus.begin(), gpus.end(), [&](const GpuSheet& g) { return g.name == name; });
  if (gpu == gpus.end()) {
    fail_usage("--gpu {}: known are {}; another one's memory is set by --memory", name, known_gpu_names());
  }
  return *gpu;
}

MachineSpeed expected_speed(const GpuSheet& sheet) {
  constexpr double kProducts = 0.7;
  constexpr double kHopperAttention = 0.65;
  constexpr double kPortableAttention = 0.4;
  constexpr double kBandwidth = 0.85;
  const double peak = 1e12 * sheet.bf16_tflops;
  return {.flops = kProducts * peak,
          .attention_flops = (sheet.major == 9 ? kHopperAttention : kPortableAttention) * peak,
          .bandwidth = kBandwidth * 1e9 * sheet.bandwidth_gbs};
}

#ifdef SEER_HAVE_CUDA

namespace {

/// Sizes of scratch depend on the kernels that would be taken and on nothing of the device but its multiprocessors.
class AbsentGpu final : public PlanBackend {
 public:
  AbsentGpu(const GpuSheet& sheet, DType precision)
      : PlanBackend(*this),  // every question it would pass on is answered here
        sheet_(sheet),
        attention_{.precision = precision, .hopper = sheet.major == 9, .sm_count = sheet.sm_count} {}

  std::string name() const override {
    return fmt::format("{} ({}), which is not here", sheet_.name,
                       attention_.precision == DType::kF32 ? "fp32" : "bf16");
  }
  DType activation_dtype() const override { return attention_.precision; }
  DType weight_dtype(DType) const override { return attention_.precision; }
  size_t memory_bytes() const override { return static_cast<size_t>(sheet_.memory_gb * 1e9); }
  size_t available_bytes() const override { return memory_bytes() - kContextBytes; }
  int64_t full_speed_rows() const override { return 16384; }
  bool reads_host_memory() const override { return false; }
  size_t linear_workspace(const StackedLinear&) const override { return cuda::Linear::workspace_bytes(); }
  size_t attention_workspace(const AttentionArgs& args) const override {
    return cuda::attention_workspace(attention_, args);
  }
  size_t kl_workspace(const KlArgs& args) const override { return cuda::kl_workspace(args); }
  size_t antidiagonal_workspace(const AntidiagonalArgs& args) const override {
    return cuda::antidiagonal_workspace(args);
  }
  size_t select_workspace(const SelectArgs&) const override { return 0; }
  size_t kept_recall_workspace(const KeptRecallArgs& args) const override {
    return cuda::kept_recall_workspace(args);
  }
  size_t sparse_attention_workspace(const SparseAttentionArgs& args) const override {
    return cuda::sparse_attention_workspace(attention_, args);
  }
  size_t norm_workspace(int64_t elements) const override { return cuda::norm_workspace(elements); }

 private:
  static constexpr size_t kContextBytes = size_t{600}
                                          << 20;  ///< What CUDA takes before anything is allocated

  const GpuSheet sheet_;
  const cuda::AttentionChoice attention_;
};

}  // namespace

std::unique_ptr<Backend> make_absent_gpu(const GpuSheet& sheet, const RunConfig& config) {
  return std::make_unique<AbsentGpu>(sheet, config.precision == "fp32" ? DType::kF32 : DType::kBF16);
}

#else

std::unique_ptr<Backend> make_absent_gpu(const GpuSheet& sheet, const RunConfig&) {
  fail(
      "--gpu {}: this build has no CUDA backend and does not know what its kernels need: build where nvcc is "
      "installed",
      sheet.name);
}

#endif

}  // namespace seer
