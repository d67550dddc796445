// Random strings and draws that the tasks are made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/core/rng.h"

namespace seer {

/// A number of exactly `digits` decimal digits, uniform.
std::string random_number(Rng& rng, int digits);

/// A UUID of version 4 in its usual spelling, 122 random bits.
std::string random_uuid(Rng& rng);

/// `count` letters of the 26 from `first` ('a' or 'A') on.
std::string random_letters(Rng& rng, int count, char first);

/// `count` different integers of [0, bound), in random order. count <= bound.
std::vector<int64_t> choose(Rng& rng, int64_t count, int64_t bound);

}  // namespace seer
