// CRC-32 (zlib's): tells apart what has the same name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace seer {

class Crc32 {
 public:
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  uint32_t value() const { return value_; }

 private:
  uint32_t value_ = 0;
};

}  // namespace seer
