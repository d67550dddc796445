// RULER's noise: what the simplest haystacks consist of.
#pragma once

#include <string_view>

namespace seer {

constexpr std::string_view kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

}  // namespace seer
