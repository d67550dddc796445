// What this binary is.
#pragma once

#include <string>

namespace seer {

/// "seer-train 0.1.0 (abc1234, Release, x86-64-v3, g++ 12.2.0, backends: cpu)".
std::string version_text();

}  // namespace seer
