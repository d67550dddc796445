// The parts of the page, each an HTML <section>, or empty if the report has nothing for it.
#pragma once

#include <string>

#include "trainer/report/report_data.h"

namespace seer::report {

/// Losses by step and layer; recall on held-out text.
std::string training_section(const Report& report);

/// Recall and perplexity against density and speed-up, for gate, oracle and baselines.
std::string perplexity_section(const Report& report);

/// Density and recall of the gate by layer and head.
std::string heads_section(const Report& report);

/// Ground truth beside the gate, block by block.
std::string maps_section(const Report& report);

/// A chart with its title, a sentence on what one sees and what good looks like, and what belongs under it.
std::string figure(const std::string& title, const std::string& sentence, const std::string& body);

}  // namespace seer::report
