// How many pieces of one size cover a length.
#pragma once

#include <cstdint>

namespace seer {

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace seer
