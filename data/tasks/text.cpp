#include "data/tasks/text.h"

#include <algorithm>

#include <utf8proc.h>

#include "data/unicode.h"

namespace seer {
namespace {

constexpr char32_t kReplacement = 0xfffd;

/// Bytes of the stretch at the front of an invalid text that one U+FFFD replaces: a character that was cut
/// off, or else one byte (Unicode's "maximal subparts").
size_t broken_prefix(std::string_view text) {
  for (size_t length = std::min<size_t>(3, text.size()); length > 1; --length) {
    // A prefix of a character: some continuation bytes complete it.
    for (const char* completion : {"\x80\x80", "\xbf\xbf", "\x90\x80", "\x8f\xbf"}) {
      std::string completed(text.substr(0, length));
      completed += completion;
      const size_t whole = decode_utf8(completed).length;
      if (whole > length) return length;
    }
  }
  return 1;
}

}  // namespace

std::u32string to_code_points(std::string_view text) {
  std::u32string code_points;
  code_points.reserve(text.size());
  while (!text.empty()) {
    const auto [c, length] = decode_utf8(text);
    code_points.push_back(length > 0 ? c : kReplacement);
    text.remove_prefix(length > 0 ? length : broken_prefix(text));
  }
  return code_points;
}

std::string to_utf8(std::u32string_view code_points) {
  std::string text;
  text.reserve(code_points.size());
  for (const char32_t c : code_points) {
    utf8proc_uint8_t encoded[4];
    const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), encoded);
    text.append(reinterpret_cast<const char*>(encoded), static_cast<size_t>(length));
  }
  return text;
}

std::string valid_text(std::string_view text) {
  if (valid_utf8_prefix(text) == text.size()) return std::string(text);
  return to_utf8(to_code_points(text));
}

std::vector<std::string_view> split_white_space(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0;
  size_t at = 0;
  const auto end_word = [&] {
    if (at > begin) words.push_back(text.substr(begin, at - begin));
  };
  while (at < text.size()) {
    const auto [c, length] = decode_utf8(text.substr(at));
    if (length > 0 && is_white_space(c)) {
      end_word();
      begin = at + length;
    }
    at += std::max<size_t>(length, 1);
  }
  end_word();
  return words;
}

std::string lower_case(std::string_view text) {
  std::u32string code_points = to_code_points(text);
  for (char32_t& c : code_points)
    c = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  return to_utf8(code_points);
}

bool is_word_character(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return c == '_';
  }
}

bool is_decimal_digit(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

}  // namespace seer
