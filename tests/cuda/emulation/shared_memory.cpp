#include "tests/cuda/emulation/shared_memory.h"

#include <bit>
#include <cstring>

#include "src/core/ceil_div.h"
#include "src/core/error.h"

namespace seer::emulation {

SharedMemory::SharedMemory(uint32_t bytes)
    : bytes_(bytes),
      storage_(std::make_unique_for_overwrite<unsigned char[]>(bytes + 1024)),
      written_(ceil_div(bytes, kLine)),
      readers_(ceil_div(bytes, kLine)) {
  if (bytes > kMostBytes) fail("a thread block asks for {} bytes of shared memory", bytes);
  begin_ = storage_.get() + (1024 - reinterpret_cast<uintptr_t>(storage_.get()) % 1024) % 1024;
  std::memset(begin_, 0xFF, bytes);
}

uint32_t SharedMemory::byte_of(const void* pointer) const {
  const auto* at = static_cast<const unsigned char*>(pointer);
  if (at < begin_ || at >= begin_ + bytes_) fail("an address that is not in shared memory");
  return static_cast<uint32_t>(at - begin_);
}

unsigned char* SharedMemory::at(uint32_t address, uint32_t size) {
  if (address < kFirstAddress || address - kFirstAddress + size > bytes_ || address % size != 0)
    fail("{} bytes at shared address {}", size, address);
  return begin_ + (address - kFirstAddress);
}

float SharedMemory::bf16_at_swizzled(uint32_t address) {
  uint16_t bits;
  std::memcpy(&bits, at_swizzled(address, sizeof(bits)), sizeof(bits));
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint32_t SharedMemory::line_of(uint32_t address) const {
  if (address < kFirstAddress || address - kFirstAddress >= bytes_) fail("shared address {}", address);
  return (address - kFirstAddress) / kLine;
}

void SharedMemory::begin_write(uint32_t address, uint32_t size) {
  for (uint32_t offset = 0; offset < size; offset += kLine) {
    const uint32_t line = line_of(address + offset);
    if (readers_[line] != 0) fail("TMA overwrites byte {}, which a queued product reads", line * kLine);
    if (written_[line] != 0) fail("TMA is told twice to write byte {}", line * kLine);
    written_[line] = 1;
  }
}

void SharedMemory::end_write(uint32_t address, uint32_t size) {
  for (uint32_t offset = 0; offset < size; offset += kLine) written_[line_of(address + offset)] = 0;
}

void SharedMemory::check_read(uint32_t address, const char* reader) const {
  const uint32_t line = line_of(address);
  if (written_[line] != 0) fail("{} reads byte {}, which TMA has not written yet", reader, line * kLine);
}

void SharedMemory::begin_read(std::span<const uint32_t> addresses) {
  for (const uint32_t address : addresses) {
    check_read(address, "a product");
    ++readers_[line_of(address)];
  }
}

void SharedMemory::end_read(std::span<const uint32_t> addresses) {
  for (const uint32_t address : addresses) --readers_[line_of(address)];
}

}  // namespace seer::emulation
