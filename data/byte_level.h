// GPT-2's spelling of bytes as printable characters, in which byte-level BPE files write their tokens.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace seer {

/// The character that stands for each byte: itself for the 188 printable ones of Latin-1, and U+0100 upwards
/// for the other 68 in order (so the space is U+0120, "Ġ").
const std::array<char32_t, 256>& byte_level_alphabet();

/// Appends the bytes that a token spells ("Ġthe" is " the") to `bytes`; false if one of its characters stands
/// for no byte (then `bytes` has those before it).
bool append_spelled_bytes(std::string_view token, std::string& bytes);

}  // namespace seer
