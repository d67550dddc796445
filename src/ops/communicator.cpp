#include "src/ops/communicator.h"

namespace seer {

void check_all_gather(const Communicator& group, ConstTensor mine, ConstTensor all) {
  SEER_CHECK(mine.contiguous() && all.contiguous(), "all_gather of strided tensors");
  SEER_CHECK(mine.dtype() == all.dtype() && mine.numel() * group.size() == all.numel(),
             "all_gather of {} {} from {} ranks to {} {}", name_of(mine.dtype()), to_string(mine.shape()),
             group.size(), name_of(all.dtype()), to_string(all.shape()));
}

void check_all_to_all(const Communicator& group, ConstTensor from, ConstTensor to) {
  SEER_CHECK(from.contiguous() && to.contiguous() && from.raw() != to.raw(),
             "all_to_all in place or strided");
  SEER_CHECK(from.dtype() == to.dtype() && from.numel() == to.numel() && from.numel() % group.size() == 0,
             "all_to_all of {} {} over {} ranks to {} {}", name_of(from.dtype()), to_string(from.shape()),
             group.size(), name_of(to.dtype()), to_string(to.shape()));
}

}  // namespace seer
