// The keys of a run's config, declared once.
#pragma once

#include "trainer/config_tree.h"
#include "trainer/run_config.h"

namespace seer {

/// Every key of a RunConfig, bound to the members of `config`, which must outlive the result.
ConfigSection describe(RunConfig& config);

}  // namespace seer
