// Shared memory of an emulated thread block: its bytes, NaN at first, its 32-bit addresses, the 128-byte swizzle, and
// for every line of 128 bytes who is using it behind the threads' back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace seer::emulation {

class SharedMemory {
 public:
  static constexpr uint32_t kMostBytes =
      227 * 1024;  ///< That a thread block of compute capability 9.0 may have
  static constexpr uint32_t kLine = 128;

  explicit SharedMemory(uint32_t bytes);

  unsigned char* begin() { return begin_; }
  const unsigned char* begin() const { return begin_; }
  uint32_t bytes() const { return bytes_; }

  /// Counted from begin(); fails for what is not in shared memory.
  uint32_t byte_of(const void* pointer) const;
  /// As instructions name it.
  uint32_t address_of(const void* pointer) const { return kFirstAddress + byte_of(pointer); }

  /// The `size` bytes at an address, which is a multiple of `size`.
  unsigned char* at(uint32_t address, uint32_t size);
  /// The same where rows of 128 bytes are swizzled: 16-byte chunks change places within groups of 8 rows.
  unsigned char* at_swizzled(uint32_t address, uint32_t size) {
    return at(address ^ (address >> 7 & 7) << 4, size);
  }
  float bf16_at_swizzled(uint32_t address);

  /// Lines that TMA has been told to write and has not: nobody may touch them.
  void begin_write(uint32_t address, uint32_t size);
  void end_write(uint32_t address, uint32_t size);
  /// Fails if TMA is about to write there.
  void check_read(uint32_t address, const char* reader) const;

  /// Lines that a queued product reads: TMA may not be told to write them.
  void begin_read(std::span<const uint32_t> addresses);
  void end_read(std::span<const uint32_t> addresses);

 private:
  static constexpr uint32_t kFirstAddress = 1024;  ///< A pointer taken for an address, or a byte, shows

  uint32_t line_of(uint32_t address) const;

  uint32_t bytes_;
  std::unique_ptr<unsigned char[]> storage_;
  unsigned char* begin_;  ///< At a multiple of 1024
  std::vector<uint8_t> written_;
  std::vector<uint16_t> readers_;
};

}  // namespace seer::emulation
