// What every backend must compute alike, bit for bit: the order of scores, and scores that are drawn.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace seer {

/// The order of floats as an order of integers, given their bits; -0 and 0 are equal.
constexpr uint32_t ordered_bits(uint32_t float_bits) {
  if (float_bits == 0x80000000U) float_bits = 0;
  return (float_bits & 0x80000000U) != 0 ? ~float_bits : float_bits | 0x80000000U;
}

/// Uniform in [0, 1), 24 bits, a function of the arguments alone (SplitMix64's finaliser over each of them).
constexpr float block_hash(uint64_t seed, int64_t head, int64_t position, int64_t block) {
  uint64_t x = seed;
  for (const int64_t part : {head, position, block}) {
    x += 0x9e3779b97f4a7c15ULL * (static_cast<uint64_t>(part) + 1);
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
    x ^= x >> 31U;
  }
  return static_cast<float>(x >> 40U) * 0x1p-24F;
}

}  // namespace seer
