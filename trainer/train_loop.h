// A run from its config to its exported gates: load, resume, step, evaluate, log, save, stop.
#pragma once

#include <string>

#include "trainer/run_config.h"

namespace seer {

/// Exit codes of a training.
constexpr int kExitDone = 0;
constexpr int kExitStoppedEarly = 75;  ///< EX_TEMPFAIL: a signal asked for it; the run can be resumed.

/// Trains what `config` describes into its run folder, or continues the run there from its newest checkpoint.
/// Ends with a table on standard output (loss and recall before and after, where the gates were written).
/// Returns kExitDone or kExitStoppedEarly; throws Error for everything that goes wrong, the last good
/// checkpoint kept.
int train(const RunConfig& config, bool resume);

}  // namespace seer
