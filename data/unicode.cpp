#include "data/unicode.h"

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <cstring>
#include <vector>

#include <utf8proc.h>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr char32_t kPlaneSize = 0x10000;
constexpr utf8proc_ssize_t kMostParts = 8;  // of one character; Unicode's longest has 4
using PlaneSet = std::bitset<kPlaneSize>;
// STABLE keeps utf8proc from composing what Unicode excludes from composition.
constexpr auto kNfc = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
constexpr auto kCanonical = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);

// Code points of the basic plane that normalisation leaves alone whatever stands before them: starters equal
// to their own NFC form that are never the later part of a composition. Two of them in a row are in NFC.
PlaneSet find_inert() {
  PlaneSet never_second;
  never_second.set();
  PlaneSet stable;
  for (char32_t c = 0; c < kPlaneSize; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const auto code = static_cast<utf8proc_int32_t>(c);
    utf8proc_int32_t parts[kMostParts];
    int boundary = UTF8PROC_BOUNDCLASS_START;
    const auto count = utf8proc_decompose_char(code, parts, kMostParts, kCanonical, &boundary);
    SEER_CHECK(count >= 1 && count <= kMostParts, "utf8proc decomposes U+{:04X} into {} parts", code, count);
    for (utf8proc_ssize_t i = 1; i < count; ++i) never_second.reset(static_cast<size_t>(parts[i]) & 0xffff);
    const auto composed = utf8proc_normalize_utf32(parts, count, kNfc);
    const bool starter = utf8proc_get_property(code)->combining_class == 0;
    if (starter && composed == 1 && parts[0] == code) stable.set(c);
  }
  return stable & never_second;
}

bool is_inert(char32_t c) {
  if (c < 0x300) return true;
  static const PlaneSet inert = find_inert();
  return c < kPlaneSize && inert[c];
}

int combining_class(utf8proc_int32_t c) {
  return utf8proc_get_property(c)->combining_class;
}

// utf8proc_decompose would order the marks by a bubble sort, which a megabyte of them turns into minutes.
void normal_form(std::string_view text, std::string& out) {
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  int boundary = UTF8PROC_BOUNDCLASS_START;
  while (!text.empty()) {
    const auto [c, length] = decode_utf8(text);
    utf8proc_int32_t parts[kMostParts];
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, kMostParts, kCanonical, &boundary);
    SEER_CHECK(count >= 1 && count <= kMostParts, "utf8proc decomposes U+{:04X} into {} parts",
               static_cast<uint32_t>(c), count);
    code_points.insert(code_points.end(), parts, parts + count);
    text.remove_prefix(length);
  }
  const auto is_starter = [](utf8proc_int32_t c) { return combining_class(c) == 0; };
  const auto comes_first = [](auto a, auto b) { return combining_class(a) < combining_class(b); };
  for (auto run = code_points.begin(); run != code_points.end();) {
    const auto end = std::find_if(run, code_points.end(), is_starter);
    std::stable_sort(run, end, comes_first);
    run = end == code_points.end() ? end : end + 1;
  }
  const auto size = static_cast<utf8proc_ssize_t>(code_points.size());
  const auto composed = utf8proc_normalize_utf32(code_points.data(), size, kNfc);
  out.clear();
  for (utf8proc_ssize_t i = 0; i < composed; ++i) {
    utf8proc_uint8_t encoded[4];
    const auto length = utf8proc_encode_char(code_points[static_cast<size_t>(i)], encoded);
    out.append(reinterpret_cast<const char*>(encoded), static_cast<size_t>(length));
  }
}

// Bytes of the leading run of ASCII.
size_t ascii_prefix(std::string_view text) {
  size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    if ((word & 0x8080808080808080U) != 0) break;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

DecodedChar decode_utf8(std::string_view text) {
  constexpr DecodedChar kInvalid{0, 0};
  if (text.empty()) return kInvalid;
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return kInvalid;
  char32_t c = lead & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return kInvalid;
    c = (c << 6U) | (byte(i) & 0x3fU);
  }
  const bool overlong = (length == 3 && c < 0x800) || (length == 4 && c < 0x10000);
  if (overlong || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return kInvalid;
  return {c, length};
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  for (;;) {
    at += ascii_prefix(text.substr(at));
    const size_t length = decode_utf8(text.substr(at)).length;
    if (length == 0) return at;
    at += length;
  }
}

size_t invalid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size() && decode_utf8(text.substr(at)).length == 0) ++at;
  return at;
}

std::string_view to_nfc(std::string_view text, std::string& storage) {
  storage.clear();
  std::string normal;
  size_t settled = 0;   // text[0, settled) is in `storage`
  size_t previous = 0;  // where the character before `at` starts
  for (size_t at = 0; at < text.size();) {
    if (const size_t ascii = ascii_prefix(text.substr(at)); ascii > 0) {
      at += ascii;
      previous = at - 1;
      continue;
    }
    const auto [c, length] = decode_utf8(text.substr(at));
    SEER_CHECK(length > 0, "to_nfc was given invalid UTF-8 at byte {}", at);
    if (is_inert(c)) {
      previous = at;
      at += length;
      continue;
    }
    // From the character before, with which this one may compose, to the next inert one.
    const size_t begin = previous;
    for (DecodedChar next{c, length}; next.length > 0 && !is_inert(next.code_point);
         next = decode_utf8(text.substr(at)))
      at += next.length;
    const std::string_view stretch = text.substr(begin, at - begin);
    previous = at;
    normal_form(stretch, normal);
    if (normal == stretch) continue;
    storage.append(text.substr(settled, begin - settled)).append(normal);
    settled = at;
  }
  if (settled == 0) return text;
  storage.append(text.substr(settled));
  return storage;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

std::string_view trim_white_space(std::string_view text) {
  while (!text.empty()) {
    const auto [c, length] = decode_utf8(text);
    if (length == 0 || !is_white_space(c)) break;
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0U) == 0x80) --start;
    const auto [c, length] = decode_utf8(text.substr(start));
    if (length != text.size() - start || !is_white_space(c)) break;
    text.remove_suffix(length);
  }
  return text;
}

}  // namespace seer
