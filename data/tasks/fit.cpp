#include "data/tasks/fit.h"

#include <algorithm>

#include "src/core/error.h"

namespace seer {

Fit largest_that_fits(int64_t least, int64_t most, int64_t limit,
                      const std::function<int64_t(int64_t)>& count_tokens) {
  constexpr int64_t kCloseEnough = 512;
  SEER_CHECK(least >= 1 && least <= most, "sizes {} to {}", least, most);
  const auto measure = [&](int64_t size) { return Fit{size, count_tokens(size)}; };
  const auto is_close = [&](const Fit& fit) { return (limit - fit.tokens) * kCloseEnough < limit; };

  Fit low = measure(least);
  if (low.tokens > limit) return low;
  Fit high = low;
  while (high.tokens <= limit) {
    low = high;
    if (low.size == most || is_close(low)) return low;
    high = measure(std::min(most, 2 * low.size));
  }
  for (bool interpolate = true; high.size - low.size > 1 && !is_close(low); interpolate = !interpolate) {
    int64_t guess = low.size + (high.size - low.size) / 2;
    if (interpolate)
      guess = low.size + static_cast<int64_t>(static_cast<double>(high.size - low.size) *
                                              static_cast<double>(limit - low.tokens) /
                                              static_cast<double>(high.tokens - low.tokens));
    const Fit middle = measure(std::clamp(guess, low.size + 1, high.size - 1));
    (middle.tokens <= limit ? low : high) = middle;
  }
  return low;
}

}  // namespace seer
