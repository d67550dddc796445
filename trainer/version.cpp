#include "trainer/version.h"

#include <fmt/format.h>

namespace seer {

std::string version_text() {
  return fmt::format("seer-train {} ({}, {}, {}, backends: cpu)", SEER_VERSION, SEER_BUILD_TYPE,
                     SEER_ARCH_NAME, SEER_COMPILER);
}

}  // namespace seer
