#include "trainer/launch_flags.h"

#include <algorithm>

#include "src/core/error.h"
#ifdef SEER_HAVE_CUDA
#include "cuda/cuda_backend.h"
#endif

namespace seer {
namespace {

int gpu_count() {
#ifdef SEER_HAVE_CUDA
  return cuda_device_count();
#else
  fail_usage(
      "--gpus: this build has no CUDA backend: configure with -DSEER_CUDA=ON where nvcc is installed, or use "
      "--ranks N "
      "--device cpu");
#endif
}

}  // namespace

LaunchPlan plan_launch(const LaunchFlags& flags, const RunConfig& config, const Environment& environment,
                       const std::vector<std::string>& arguments) {
  const RankInfo info = read_launch_env(environment);
  if (!info.alone()) {
    fail_usage(
        "--gpus, --ranks and --max-restarts start ranks on this machine, but {} has started this process as "
        "rank {} of {}: "
        "leave the flags out",
        info.source, info.rank, info.size);
  }
  if (!flags.gpus.empty() && flags.ranks > 0)
    fail_usage("--gpus starts one rank for each GPU: leave --ranks out");
  LaunchPlan plan;
  plan.command = without_launch_flags(arguments);
  plan.run_folder = config.output.dir;
  plan.max_restarts = flags.max_restarts;
  const std::chrono::milliseconds timeout(static_cast<int64_t>(1000 * config.parallel.timeout));
  plan.grace = std::min(plan.grace, timeout);
  if (!flags.gpus.empty()) {
    if (config.device != "cuda") {
      fail_usage("--gpus with device \"{}\": add --device cuda, or use --ranks N", config.device);
    }
    plan.gpus = parse_gpus(flags.gpus, gpu_count());
    plan.ranks = static_cast<int>(plan.gpus.size());
  } else if (flags.ranks > 0) {
    if (config.device != "cpu") {
      fail_usage(
          "--ranks is for CPUs, the device is \"{}\": add --device cpu, or use --gpus 0,1 or --gpus all",
          config.device);
    }
    plan.ranks = flags.ranks;
  }
  return plan;
}

}  // namespace seer
