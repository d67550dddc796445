// RULER's vt: a chain of assignments among noise; which variables hold the value?
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "data/tasks/ruler_recipe.h"

namespace seer {

/// One chain of four hops, with a solved example in front. `count_tokens` sizes the example (500 tokens).
std::unique_ptr<RulerRecipe> make_variable_tracking(
    const std::function<int64_t(std::string_view)>& count_tokens);

}  // namespace seer
