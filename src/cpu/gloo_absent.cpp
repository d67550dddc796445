#include "src/core/error.h"
#include "src/cpu/gloo_communicator.h"

namespace seer {

std::unique_ptr<Communicator> make_gloo_communicator(const GlooOptions&, RankExchange) {
  fail(
      "this seer-train was built without Gloo, which ranks on CPUs talk through: install libgloo-dev and "
      "build with "
      "-DSEER_GLOO=ON");
}

}  // namespace seer
