#include "trainer/version.h"

#include <fmt/format.h>

namespace seer {
namespace {

#ifdef SEER_HAVE_CUDA
constexpr const char* kBackends = "cpu, cuda";
#else
constexpr const char* kBackends = "cpu";
#endif

}  // namespace

std::string version_text() {
  return fmt::format("seer-train {} ({}, {}, {}, backends: {})", SEER_VERSION, SEER_BUILD_TYPE,
                     SEER_ARCH_NAME, SEER_COMPILER, kBackends);
}

}  // namespace seer
