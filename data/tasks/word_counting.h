// RULER's cwe and fwe: which words of a long list come most often?
#pragma once

#include <cstdint>
#include <memory>

#include "data/tasks/ruler_recipe.h"

namespace seer {

/// cwe: a numbered list in which ten words come 30 times and all others 3 times (6 and 1 below 4,096 tokens),
/// with a solved small one in front. `length` is the sample's, in tokens.
std::unique_ptr<RulerRecipe> make_common_words(int64_t length);

/// fwe: coded words of six letters with frequencies by a zeta distribution of exponent 2; the most frequent
/// word is "..." and to be ignored, the next three are the answer. `input_tokens` is the sample's length
/// without the answer.
std::unique_ptr<RulerRecipe> make_frequent_words(int64_t input_tokens);

}  // namespace seer
