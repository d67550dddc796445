// The flags of `train` that start ranks, checked against the config.
#pragma once

#include <string>
#include <vector>

#include "src/ranks/launch_env.h"
#include "trainer/launcher.h"
#include "trainer/run_config.h"

namespace seer {

struct LaunchFlags {
  std::string gpus;  ///< "0,1,3", "all", or empty
  int ranks = 0;     ///< 0: not given
  int max_restarts = 0;

  /// Whether this process starts others rather than train itself.
  bool any() const { return !gpus.empty() || ranks > 0 || max_restarts > 0; }
};

/// What to start. `arguments` are this process's, [0] its name. Throws a usage Error if flags and config contradict each
/// other, or if this process is itself one of several ranks.
LaunchPlan plan_launch(const LaunchFlags& flags, const RunConfig& config, const Environment& environment,
                       const std::vector<std::string>& arguments);

}  // namespace seer
