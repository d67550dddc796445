// Whether two kernels that are compared compute the same.
#pragma once

#include "src/ops/backend.h"

namespace seer {

/// |a - b| / |b| over up to 64 rows from first to last. Waits for the queue.
double relative_difference(Backend& backend, Queue& queue, ConstTensor a, ConstTensor b);

}  // namespace seer
