#include "src/io/checksum.h"

#include <algorithm>
#include <limits>

#include <zlib.h>

namespace seer {

void Crc32::add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t part = std::min<size_t>(bytes.size(), std::numeric_limits<uInt>::max());
    value_ = static_cast<uint32_t>(
        ::crc32(value_, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(part)));
    bytes = bytes.subspan(part);
  }
}

}  // namespace seer
