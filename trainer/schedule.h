// Learning rate as a function of the step (SEMANTICS 5).
#pragma once

#include <cstdint>

#include "trainer/run_config.h"

namespace seer {

/// lr at optimiser step t = 0, 1, ..: base * t / warmup before `warmup_steps`, then
/// constant: base; linear: base * (total - t) / (total - warmup); cosine: base * (1 + cos(pi x)) / 2 with
/// x = (t - warmup) / (total - warmup); cosine_floor: floor + (base - floor) * (1 + cos(pi x)) / 2.
double learning_rate(const ScheduleConfig& schedule, double base, int64_t step, int64_t total_steps);

}  // namespace seer
