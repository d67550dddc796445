// How fast this machine multiplies matrices and moves memory, measured in under a second.
#pragma once

#include "src/ops/backend.h"

namespace seer {

struct MachineSpeed {
  double flops = 0;            ///< FLOP/s of the backend's linear
  double attention_flops = 0;  ///< FLOP/s of attention: small heads are bound by exponentials, not products
  double bandwidth = 0;        ///< Bytes/s, read plus written, of an elementwise operation
};

MachineSpeed probe_speed(Backend& backend, int64_t head_dim);

}  // namespace seer
