#include "cuda/nccl_communicator.h"
#include "src/core/error.h"

namespace seer {

std::unique_ptr<Communicator> make_nccl_communicator(const NcclOptions&, const RankExchange&) {
  fail(
      "this seer-train was built without NCCL, which ranks on GPUs talk through: install libnccl-dev and "
      "build with "
      "-DSEER_NCCL=ON");
}

}  // namespace seer
