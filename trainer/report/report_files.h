// What a report shows, found in the folder of a run or of gates.
#pragma once

#include <filesystem>

#include "trainer/report/report_data.h"

namespace seer::report {

/// Of a run: metrics.jsonl, and the eval-ppl*.json in its folder and in gates/<name>. Of a gates folder: the eval-ppl*.json
/// in it. What is not there is left empty; a file that is there and damaged is an Error, as is any other kind of folder.
Report collect_report(const std::filesystem::path& folder);

}  // namespace seer::report
