#include "tests/trainer/report/png_reader.h"

#include <cstdlib>
#include <map>

#include <zlib.h>

#include "src/core/error.h"

namespace seer::test {
namespace {

const Bytef* bytes_of(const std::string& text) {
  return reinterpret_cast<const Bytef*>(text.data());
}

uint32_t be32(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes.at(at + i));
  return value;
}

/// Data of all chunks by type, those of one type joined.
std::map<std::string, std::string> read_chunks(const std::string& bytes) {
  if (!bytes.starts_with("\x89PNG\r\n\x1a\n")) fail("no PNG signature");
  std::map<std::string, std::string> chunks;
  for (size_t at = 8; at < bytes.size();) {
    const size_t length = be32(bytes, at);
    const std::string checked = bytes.substr(at + 4, 4 + length);
    const uint32_t crc = be32(bytes, at + 8 + length);
    if (crc != ::crc32(0, bytes_of(checked), static_cast<uInt>(checked.size())))
      fail("a chunk's CRC is wrong");
    chunks[checked.substr(0, 4)] += checked.substr(4);
    at += 12 + length;
  }
  if (!chunks.contains("IEND")) fail("no IEND");
  return chunks;
}

int paeth(int left, int up, int corner) {
  const int to_left = std::abs(up - corner);
  const int to_up = std::abs(left - corner);
  const int to_corner = std::abs(left + up - 2 * corner);
  if (to_left <= to_up && to_left <= to_corner) return left;
  return to_up <= to_corner ? up : corner;
}

/// Undoes the filter of every row, in place; each row begins with its filter's number.
void unfilter(std::string& rows, size_t stride, size_t channels, size_t height) {
  const auto at = [&](size_t y, size_t i) -> int {
    return static_cast<uint8_t>(rows[y * (stride + 1) + 1 + i]);
  };
  for (size_t y = 0; y < height; ++y) {
    const int filter = static_cast<uint8_t>(rows[y * (stride + 1)]);
    for (size_t i = 0; i < stride; ++i) {
      const int left = i >= channels ? at(y, i - channels) : 0;
      const int up = y > 0 ? at(y - 1, i) : 0;
      const int corner = i >= channels && y > 0 ? at(y - 1, i - channels) : 0;
      const std::array<int, 5> predictions = {0, left, up, (left + up) / 2, paeth(left, up, corner)};
      rows[y * (stride + 1) + 1 + i] =
          static_cast<char>(at(y, i) + predictions.at(static_cast<size_t>(filter)));
    }
  }
}

}  // namespace

Picture read_png(const std::string& bytes) {
  std::map<std::string, std::string> chunks = read_chunks(bytes);
  const std::string& header = chunks["IHDR"];
  Picture picture{.width = be32(header, 0), .height = be32(header, 4)};
  const int type = header.at(9);
  if (header.at(8) != 8 || header.at(12) != 0 || (type != 2 && type != 3 && type != 6)) {
    fail("PNG of {} bits, colour type {}, interlace {}", int{header.at(8)}, type, int{header.at(12)});
  }
  const size_t channels = type == 3 ? 1 : type == 2 ? 3 : 4;
  const auto height = static_cast<size_t>(picture.height);
  const size_t stride = channels * static_cast<size_t>(picture.width);
  std::string rows((stride + 1) * height, '\0');
  uLongf size = rows.size();
  if (::uncompress(reinterpret_cast<Bytef*>(rows.data()), &size, bytes_of(chunks["IDAT"]),
                   chunks["IDAT"].size()) != Z_OK ||
      size != rows.size()) {
    fail("the pixels do not inflate to {} bytes", rows.size());
  }
  unfilter(rows, stride, channels, height);
  const std::string& palette = chunks["PLTE"];
  const std::string& alphas = chunks["tRNS"];
  for (size_t y = 0; y < height; ++y) {
    for (size_t i = 0; i < stride; i += channels) {
      const auto channel = [&](size_t c) { return static_cast<uint8_t>(rows[y * (stride + 1) + 1 + i + c]); };
      if (type == 3) {
        const size_t entry = channel(0);
        std::array<uint8_t, 4> pixel = {0, 0, 0, 255};
        for (size_t c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>(palette.at(3 * entry + c));
        if (entry < alphas.size()) pixel[3] = static_cast<uint8_t>(alphas[entry]);
        picture.pixels.push_back(pixel);
      } else {
        picture.pixels.push_back({channel(0), channel(1), channel(2), type == 6 ? channel(3) : uint8_t{255}});
      }
    }
  }
  return picture;
}

std::string base64_decoded(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    const size_t digit = digits.find(c);
    if (digit == std::string::npos) fail("'{}' is no base64 digit", c);
    group = group << 6 | static_cast<uint32_t>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>((group >> bits) & 0xff);
    }
  }
  return out;
}

}  // namespace seer::test
