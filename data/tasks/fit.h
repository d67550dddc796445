// How much haystack fits.
#pragma once

#include <cstdint>
#include <functional>

namespace seer {

struct Fit {
  int64_t size = 0;
  int64_t tokens = 0;
};

/// The largest size of [least, most] whose `count_tokens` is at most `limit`, up to a rest of less than
/// 1/512 of the limit; `least` with its tokens, more than the limit, if none fits.
///
/// The count should grow with the size, nearly linearly: a binary search that guesses by interpolation and
/// so tokenizes some six times the final text, however long it is. Where the count is not monotone, what
/// comes back still fits.
Fit largest_that_fits(int64_t least, int64_t most, int64_t limit,
                      const std::function<int64_t(int64_t)>& count_tokens);

}  // namespace seer
