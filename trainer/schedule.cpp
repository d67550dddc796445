#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "src/core/error.h"

namespace seer {

double learning_rate(const ScheduleConfig& schedule, double base, int64_t step, int64_t total_steps) {
  const auto t = static_cast<double>(step);
  const auto warmup = static_cast<double>(schedule.warmup_steps);
  const auto total = static_cast<double>(total_steps);
  if (step < schedule.warmup_steps) return base * t / warmup;
  const double x = std::clamp((t - warmup) / std::max(1.0, total - warmup), 0.0, 1.0);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * x));
  if (schedule.type == "constant") return base;
  if (schedule.type == "linear") return base * (1.0 - x);
  if (schedule.type == "cosine") return base * cosine;
  if (schedule.type == "cosine_floor") {
    return schedule.min_learning_rate + (base - schedule.min_learning_rate) * cosine;
  }
  fail_usage("schedule.type \"{}\" is not known: expected constant, linear, cosine or cosine_floor",
             schedule.type);
}

}  // namespace seer
