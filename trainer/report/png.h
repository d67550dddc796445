// Small PNG files with a palette, as data: URIs: how a page carries a picture inside itself.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace seer::report {

using Rgba = std::array<uint8_t, 4>;

/// One byte a pixel, rows from the top; each names an entry of the palette (at most 256).
struct IndexedImage {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<uint8_t> pixels;
  std::vector<Rgba> palette;
};

/// The bytes of a .png file.
std::string encode_png(const IndexedImage& image);

std::string base64(std::string_view bytes);

/// "data:image/png;base64,...".
std::string data_uri(const IndexedImage& image);

}  // namespace seer::report
