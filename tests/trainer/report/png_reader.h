// Reads back the PNG files that the report and a browser write.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace seer::test {

struct Picture {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<std::array<uint8_t, 4>> pixels;  ///< RGBA, rows from the top

  const std::array<uint8_t, 4>& at(int64_t x, int64_t y) const {
    return pixels.at(static_cast<size_t>(y * width + x));
  }
};

/// 8 bits a channel, not interlaced: palette, RGB or RGBA. Throws Error for anything else, and for a wrong checksum.
Picture read_png(const std::string& bytes);

std::string base64_decoded(const std::string& text);

}  // namespace seer::test
