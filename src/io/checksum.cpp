#include "src/io/checksum.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <vector>

#include <zlib.h>

#include "src/core/error.h"

namespace seer {

void Crc32::add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t part = std::min<size_t>(bytes.size(), std::numeric_limits<uInt>::max());
    value_ = static_cast<uint32_t>(
        ::crc32(value_, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(part)));
    bytes = bytes.subspan(part);
  }
}

uint32_t crc32_of_file(const std::filesystem::path& path) {
  constexpr size_t kBuffer = size_t{1} << 20;
  std::ifstream in(path, std::ios::binary);
  std::vector<char> buffer(kBuffer);
  Crc32 crc;
  while (in) {
    in.read(buffer.data(), kBuffer);
    crc.add(std::string_view(buffer.data(), static_cast<size_t>(in.gcount())));
  }
  if (!in.eof()) fail_errno(fmt::format("cannot read {}", path.string()), errno);
  return crc.value();
}

}  // namespace seer
