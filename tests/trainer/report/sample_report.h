// Data as real evaluations have it, for tests of the page and for looking at it.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "trainer/report/report_data.h"

namespace seer::test {

/// An eval-ppl.json: published figures of one model at 8,192 and 16,384 tokens, speeds and heads made up to go with them.
nlohmann::json sample_perplexity_json(int64_t layers = 8, int64_t heads = 16);

/// A head that looks at the first block, around itself, and at some columns; the gate sees most of that.
report::BlockMap sample_map(int64_t layer, int64_t head, int64_t blocks);

/// Loss curves that fall, with evaluations every tenth of the steps.
report::GateCurves sample_curves(const std::string& name, int64_t steps, int64_t layers);

}  // namespace seer::test
