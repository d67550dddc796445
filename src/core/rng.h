// Seeded random numbers that are the same on every platform and for every number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace seer {

/// Counter-based generator (SplitMix64 of seed and counter): cheap to fork, its whole state is two integers.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}

  /// A generator for an independent stream, e.g. Rng(seed).fork("shuffle").fork(epoch).
  Rng fork(std::string_view name) const;
  Rng fork(uint64_t index) const;

  uint64_t next();
  /// Uniform in [0, bound), without modulo bias. bound > 0.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Standard normal (Box-Muller, computed in double).
  double normal();

  /// Fisher-Yates.
  template <typename T>
  void shuffle(std::span<T> values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  uint64_t state_;
};

}  // namespace seer
