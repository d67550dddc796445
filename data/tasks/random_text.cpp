#include "data/tasks/random_text.h"

#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "src/core/error.h"

namespace seer {

std::string random_number(Rng& rng, int digits) {
  uint64_t least = 1;
  for (int i = 1; i < digits; ++i) least *= 10;
  return std::to_string(least + rng.below(9 * least));
}

std::string random_uuid(Rng& rng) {
  constexpr uint64_t kVersion = 0x4000, kVersionMask = 0xf000;
  constexpr uint64_t kVariant = uint64_t{2} << 62, kVariantMask = uint64_t{3} << 62;
  const uint64_t high = (rng.next() & ~kVersionMask) | kVersion;
  const uint64_t low = (rng.next() & ~kVariantMask) | kVariant;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff,
                     low >> 48, low & 0xffffffffffff);
}

std::string random_letters(Rng& rng, int count, char first) {
  std::string letters(static_cast<size_t>(count), first);
  for (char& letter : letters) letter = static_cast<char>(first + static_cast<char>(rng.below(26)));
  return letters;
}

std::vector<int64_t> choose(Rng& rng, int64_t count, int64_t bound) {
  SEER_CHECK(count >= 0 && count <= bound, "{} different ones of {}", count, bound);
  std::vector<int64_t> pool(static_cast<size_t>(bound));
  std::iota(pool.begin(), pool.end(), int64_t{0});
  for (int64_t i = 0; i < count; ++i) {
    const auto left = static_cast<uint64_t>(bound - i);
    std::swap(pool[static_cast<size_t>(i)], pool[static_cast<size_t>(i) + rng.below(left)]);
  }
  pool.resize(static_cast<size_t>(count));
  return pool;
}

}  // namespace seer
