#include "trainer/report/png.h"

#include <algorithm>

#include <zlib.h>

#include "src/core/error.h"
#include "src/io/checksum.h"

namespace seer::report {
namespace {

void append_be32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 0xff);
}

const Bytef* bytes_of(std::string_view text) {
  return reinterpret_cast<const Bytef*>(text.data());
}

/// Length, type, data, CRC of type and data.
void append_chunk(std::string& out, std::string_view type, std::string_view data) {
  append_be32(out, static_cast<uint32_t>(data.size()));
  out += type;
  out += data;
  Crc32 crc;
  crc.add(type);
  crc.add(data);
  append_be32(out, crc.value());
}

std::string deflated(std::string_view data) {
  uLongf size = ::compressBound(data.size());
  std::string out(size, '\0');
  const int status = ::compress2(reinterpret_cast<Bytef*>(out.data()), &size, bytes_of(data), data.size(),
                                 Z_BEST_COMPRESSION);
  if (status != Z_OK) fail("zlib cannot compress {} bytes of a picture: code {}", data.size(), status);
  out.resize(size);
  return out;
}

}  // namespace

std::string encode_png(const IndexedImage& image) {
  constexpr int64_t kMaxSide = 1 << 15;
  SEER_CHECK(image.width >= 1 && image.width <= kMaxSide && image.height >= 1 && image.height <= kMaxSide,
             "{} x {} pixels", image.width, image.height);
  SEER_CHECK(static_cast<int64_t>(image.pixels.size()) == image.width * image.height, "{} pixels for {} x {}",
             image.pixels.size(), image.width, image.height);
  SEER_CHECK(!image.palette.empty() && image.palette.size() <= 256, "{} palette entries",
             image.palette.size());
  SEER_CHECK(*std::max_element(image.pixels.begin(), image.pixels.end()) < image.palette.size(),
             "a pixel outside the palette");

  std::string header;
  append_be32(header, static_cast<uint32_t>(image.width));
  append_be32(header, static_cast<uint32_t>(image.height));
  // 8 bits a pixel, palette, deflate, the one filter method, not interlaced.
  header += std::string{8, 3, 0, 0, 0};

  std::string colours;
  std::string alphas;
  for (const Rgba& entry : image.palette) {
    for (int channel = 0; channel < 3; ++channel) colours += static_cast<char>(entry[channel]);
    alphas += static_cast<char>(entry[3]);
  }

  // Every row begins with its filter; palette indices are not smooth, so none helps.
  std::string rows;
  rows.reserve(static_cast<size_t>((image.width + 1) * image.height));
  for (int64_t y = 0; y < image.height; ++y) {
    rows += '\0';
    rows.append(reinterpret_cast<const char*>(image.pixels.data()) + y * image.width,
                static_cast<size_t>(image.width));
  }

  std::string png = "\x89PNG\r\n\x1a\n";
  append_chunk(png, "IHDR", header);
  append_chunk(png, "PLTE", colours);
  append_chunk(png, "tRNS", alphas);
  append_chunk(png, "IDAT", deflated(rows));
  append_chunk(png, "IEND", "");
  return png;
}

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0U);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += k <= count ? kDigits[(group >> (18 - 6 * k)) & 63] : '=';
    }
  }
  return out;
}

std::string data_uri(const IndexedImage& image) {
  return "data:image/png;base64," + base64(encode_png(image));
}

}  // namespace seer::report
