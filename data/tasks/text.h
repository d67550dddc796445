// Strings as Python sees them: code points, white space, lower case.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace seer {

/// The code points of a text; U+FFFD for each stretch of bytes that is no character, as a decoder with
/// errors="replace" gives it.
std::u32string to_code_points(std::string_view text);

/// The UTF-8 of code points.
std::string to_utf8(std::u32string_view code_points);

/// `text` with U+FFFD in place of what is not valid UTF-8.
std::string valid_text(std::string_view text);

/// Python's str.split(): the stretches between white space.
std::vector<std::string_view> split_white_space(std::string_view text);

/// Python's str.lower(), but for the two characters whose lower case depends on more than the character:
/// U+0130 becomes "i" without its dot above, and a final capital sigma becomes U+03C3.
std::string lower_case(std::string_view text);

/// Whether Python's regular expressions match \w: letters, numbers and '_'.
bool is_word_character(char32_t c);

/// Whether they match \d.
bool is_decimal_digit(char32_t c);

}  // namespace seer
