// What answers to benchmarks are worth, as tables and as JSON.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "trainer/eval/task_run.h"

namespace seer {

/// RULER at one length; `scores` are the contenders', in order.
struct RulerScores {
  int64_t length = 0;
  std::vector<ContenderScores> scores;
};

/// A row for each task, a column for each contender.
std::string ruler_table(std::span<const Contender> contenders, const RulerScores& at);
/// A row for each set, a column for each length bucket.
std::string longbench_table(const Contender& contender, const ContenderScores& scores);

/// `settings`: a JSON object as text, TaskResults'.
std::string ruler_json(const std::string& settings, std::span<const Contender> contenders,
                       std::span<const RulerScores> lengths);
std::string longbench_json(const std::string& settings, std::span<const Contender> contenders,
                           std::span<const ContenderScores> scores);

}  // namespace seer
