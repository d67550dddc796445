// UTF-8 decoding, the NFC normal form (utf8proc) and white space.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace seer {

struct DecodedChar {
  char32_t code_point;
  size_t length;  ///< In bytes; 0 if the text is empty or does not start with a valid character.
};

/// The first character of `text`. Surrogates, overlong forms and values above U+10FFFF are not valid.
DecodedChar decode_utf8(std::string_view text);

/// Bytes of the longest prefix of `text` that is valid UTF-8.
size_t valid_utf8_prefix(std::string_view text);

/// Bytes of the longest prefix of `text` in which no valid character starts.
size_t invalid_utf8_prefix(std::string_view text);

/// The NFC form of a valid UTF-8 text: `text` itself where it is in that form already, else a view of
/// `storage`, which is overwritten. Takes time in proportion to the text. The tables are utf8proc's (Unicode
/// 14 or later); Hugging Face's library has Unicode 9's, so it leaves 98 combining marks that were added
/// since in the order in which they come, where two of them, or one and another mark, follow one letter.
std::string_view to_nfc(std::string_view text, std::string& storage);

/// White space of Python's str.split() and str.strip(): Unicode's White_Space and U+001C to U+001F.
bool is_white_space(char32_t c);

/// `text` without leading and trailing white space.
std::string_view trim_white_space(std::string_view text);

}  // namespace seer
