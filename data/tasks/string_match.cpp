#include "data/tasks/string_match.h"

#include <algorithm>

#include <fmt/format.h>

#include "data/tasks/text.h"
#include "data/unicode.h"
#include "src/core/error.h"

namespace seer {
namespace {

int64_t count_found(std::string_view prediction, std::span<const std::string> outputs) {
  SEER_CHECK(!outputs.empty(), "a prediction scored against no answer");
  const std::string text = lower_case(clean_prediction(prediction));
  return std::count_if(outputs.begin(), outputs.end(), [&](const std::string& output) {
    return text.find(lower_case(output)) != std::string::npos;
  });
}

}  // namespace

std::string clean_prediction(std::string_view prediction) {
  std::string text(trim_white_space(prediction));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = '\n';
  return std::string(trim_white_space(text));
}

double string_match_all(std::string_view prediction, std::span<const std::string> outputs) {
  return static_cast<double>(count_found(prediction, outputs)) / static_cast<double>(outputs.size());
}

double string_match_part(std::string_view prediction, std::span<const std::string> outputs) {
  return count_found(prediction, outputs) > 0 ? 1.0 : 0.0;
}

double round_to_cents(double value) {
  // To the nearest decimal of the exact binary value, as formatting does.
  return std::stod(fmt::format("{:.2f}", value));
}

}  // namespace seer
