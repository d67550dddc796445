// Maps for a report: the ground truth of chosen heads on one text, beside what their gates say and keep.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "trainer/eval/eval_model.h"
#include "trainer/eval/forward_pass.h"
#include "trainer/report/report_data.h"

namespace seer {

/// Layer and head.
using HeadPlace = std::pair<int64_t, int64_t>;

/// "0:3,5:1"; empty: six heads spread over the model. Throws a usage Error for a head the model does not have.
std::vector<HeadPlace> parse_heads(const std::string& text, const ModelConfig& model);

/// One dense pass over `window`; `plan` says what the gates keep.
std::vector<report::BlockMap> compute_block_maps(EvalModel& model, std::span<const int32_t> window,
                                                 const AttentionPlan& plan, std::span<const HeadPlace> heads);

}  // namespace seer
