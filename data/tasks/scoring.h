// What a prediction is worth.
#pragma once

#include <string_view>

#include "data/tasks/sample.h"

namespace seer {

/// 0 to 1, by the sample's metric: the best over its answers, but for RULER's kMatchAll, which is the share
/// of them. `prediction` is the decoded answer without the prompt and without special tokens.
double score(const TaskSample& sample, std::string_view prediction);

}  // namespace seer
