// One line of a JSONL file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "data/token_encoder.h"

namespace seer {

/// Reads a JSON object that holds the string `text_field`, or else `messages`: a list of at least one object
/// with the strings "role" and "content". Other keys are read past, of a repeated key the last counts.
/// Returns what is wrong with the line, or nothing when it is in `document`. Takes memory in proportion to
/// the line.
std::optional<std::string> parse_json_line(std::string_view line, std::string_view text_field,
                                           Document& document);

}  // namespace seer
