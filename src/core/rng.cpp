#include "src/core/rng.h"

#include <cmath>
#include <numbers>

namespace seer {
namespace {

// SplitMix64's finaliser (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace

Rng Rng::fork(std::string_view name) const {
  uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return fork(hash);
}

Rng Rng::fork(uint64_t index) const {
  return Rng(mix(state_ + 0x632be59bd9b4e019ULL) ^ mix(index + 0x9e3779b97f4a7c15ULL));
}

uint64_t Rng::next() {
  return mix(state_ += 0x9e3779b97f4a7c15ULL);
}

uint64_t Rng::below(uint64_t bound) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  uint64_t value = next();
  while (value >= limit) value = next();
  return value % bound;
}

double Rng::uniform() {
  return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

}  // namespace seer
