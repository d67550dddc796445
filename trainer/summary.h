// What a finished run tells its user, and what its model card says of it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/metrics_log.h"
#include "trainer/run_config.h"

namespace seer {

/// Per gate entry a table by layer: loss before and after; with held-out evaluation, recall of the gate's
/// blocks before and after beside the oracle's. Then where each entry's gates were written.
std::string training_summary(const MetricsHistory& history, const RunConfig& config,
                             const std::vector<std::filesystem::path>& gates);

/// One paragraph for the model card.
std::string training_note(const RunConfig& config, const GateEntryConfig& entry, int64_t steps,
                          int64_t tokens);

}  // namespace seer
