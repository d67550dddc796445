// RULER's needles in a haystack: "One of the special magic numbers for KEY is: VALUE."
#pragma once

#include <cstdint>
#include <memory>

#include "data/tasks/haystack.h"
#include "data/tasks/ruler_recipe.h"

namespace seer {

struct NiahShape {
  enum class Hay {
    kNoise,    ///< Five short sentences, repeated.
    kEssay,    ///< Running text, the needles between its sentences.
    kNeedles,  ///< Other needles.
  };
  enum class Needle { kWords, kNumbers, kUuids };

  Hay hay = Hay::kNoise;
  Needle key = Needle::kWords;
  Needle value = Needle::kNumbers;
  int64_t keys = 1;
  int64_t values = 1;   ///< Per key.
  int64_t queries = 1;  ///< Keys asked for, <= keys.
};

/// `haystack` is needed for Hay::kEssay alone.
std::unique_ptr<RulerRecipe> make_niah(const NiahShape& shape, std::shared_ptr<const Haystack> haystack);

}  // namespace seer
