#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <utf8proc.h>

#include "data/byte_level.h"
#include "data/unicode.h"

namespace seer {
namespace {

std::string encode(char32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(length)};
}

std::string whole_nfc(const std::string& text) {
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> normal(
      utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str())), &std::free);
  return reinterpret_cast<const char*>(normal.get());
}

TEST(Unicode, EveryCharacterIsDecoded) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const auto decoded = decode_utf8(encode(c) + "x");
    ASSERT_EQ(decoded.code_point, c);
    ASSERT_EQ(decoded.length, encode(c).size());
  }
}

TEST(Unicode, WhatIsNoCharacterIsNotDecoded) {
  for (const char* text :
       {"", "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xe2\x28\xa1"})
    EXPECT_EQ(decode_utf8(text).length, 0U) << text;
  EXPECT_EQ(valid_utf8_prefix("a\u20ac\xe2\x82z"), 4U);
  EXPECT_EQ(invalid_utf8_prefix("\xe2\x82z"), 2U);
  EXPECT_EQ(invalid_utf8_prefix("a\xff"), 0U);
}

// to_nfc hands only some stretches to utf8proc; each character must come out as in a whole normalisation,
// alone and between others with which it may compose.
TEST(Unicode, NfcOfEveryCharacterInContext) {
  std::string storage;
  for (char32_t c = 1; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const std::string alone = encode(c);
    for (const std::string& text :
         {alone, fmt::format("a{}\u0301", alone), fmt::format("\u1100{}\u11a8", alone)})
      ASSERT_EQ(to_nfc(text, storage), whole_nfc(text)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Unicode, NfcOfRandomText) {
  const std::vector<std::pair<char32_t, char32_t>> ranges = {
      {0x20, 0x7f},       {0xc0, 0x250},    {0x300, 0x370},   {0x900, 0xa00},
      {0x1100, 0x1200},   {0xac00, 0xac80}, {0x1e00, 0x2000}, {0x2000, 0x2070},
      {0x1d150, 0x1d170}, {0xf900, 0xf980}, {0xd00, 0xe00},   {0x3040, 0x3100}};
  std::mt19937 random(3);
  std::string storage;
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (size_t left = random() % 12; left > 0; --left) {
      const auto [begin, end] = ranges[random() % ranges.size()];
      text += encode(begin + random() % (end - begin));
    }
    ASSERT_EQ(to_nfc(text, storage), whole_nfc(text)) << text;
  }
}

TEST(Unicode, TextInNormalFormIsNotCopied) {
  const std::string text = "plain, caf\u00e9, \u201cquoted\u201d, \u6f22\u5b57, \ud55c\uae00, \U0001f600";
  std::string storage;
  EXPECT_EQ(to_nfc(text, storage).data(), text.data());
}

TEST(Unicode, TrimsAsPythonDoes) {
  EXPECT_EQ(trim_white_space(" \t\x1f\u00a0\u3000 a \u2009b\u2028\x1c\n"), "a \u2009b");
  EXPECT_EQ(trim_white_space("\u200bx\ufeff"), "\u200bx\ufeff") << "no white space";
  EXPECT_EQ(trim_white_space(" \u3000 "), "");
  EXPECT_EQ(trim_white_space("\xa0 x"), "\xa0 x") << "half a character";
}

TEST(ByteLevel, SpellsEveryByteOnce) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelled;
    ASSERT_TRUE(append_spelled_bytes(encode(byte_level_alphabet()[static_cast<size_t>(byte)]), spelled));
    ASSERT_EQ(spelled, std::string(1, static_cast<char>(byte)));
  }
  std::string bytes = "kept";
  EXPECT_TRUE(append_spelled_bytes("\u0120the\u010a", bytes));
  EXPECT_EQ(bytes, "kept the\n");
  for (const char* wrong : {" ", "\u0144", "\u20ac", "\xff"})
    EXPECT_FALSE(append_spelled_bytes(wrong, bytes));
}

}  // namespace
}  // namespace seer
