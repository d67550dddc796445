#include "data/byte_level.h"

#include <cstdint>

#include "data/unicode.h"

namespace seer {
namespace {

bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

// Index: code point below 0x144. Value: byte, or -1.
std::array<int16_t, 0x144> inverse_alphabet() {
  std::array<int16_t, 0x144> inverse;
  inverse.fill(-1);
  const auto& alphabet = byte_level_alphabet();
  for (size_t byte = 0; byte < alphabet.size(); ++byte) inverse[alphabet[byte]] = static_cast<int16_t>(byte);
  return inverse;
}

}  // namespace

const std::array<char32_t, 256>& byte_level_alphabet() {
  static const std::array<char32_t, 256> alphabet = [] {
    std::array<char32_t, 256> filled{};
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte)
      filled[static_cast<size_t>(byte)] = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
    return filled;
  }();
  return alphabet;
}

bool append_spelled_bytes(std::string_view token, std::string& bytes) {
  static const auto inverse = inverse_alphabet();
  while (!token.empty()) {
    const auto [code_point, length] = decode_utf8(token);
    if (length == 0 || code_point >= inverse.size() || inverse[code_point] < 0) return false;
    bytes.push_back(static_cast<char>(inverse[code_point]));
    token.remove_prefix(length);
  }
  return true;
}

}  // namespace seer
