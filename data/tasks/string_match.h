// RULER's scores: do the expected answers occur in the prediction?
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace seer {

/// What RULER scores of a prediction: no white space at its ends, each control character (below U+0020) a
/// newline.
std::string clean_prediction(std::string_view prediction);

/// The share of `outputs` that occur in the prediction, in any case of letters. `outputs` is not empty.
double string_match_all(std::string_view prediction, std::span<const std::string> outputs);

/// 1 if any of them occurs, else 0.
double string_match_part(std::string_view prediction, std::span<const std::string> outputs);

/// Rounded to two decimals as Python's round() does it.
double round_to_cents(double value);

}  // namespace seer
