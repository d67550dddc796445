// Stands before cuda/attention/ptx_sm80.cuh on the include path of emulated kernels: the same functions, as far as the
// Hopper kernels call them, on an emulated thread block.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tests/cuda/emulation/cuda_words.h"

namespace seer::cuda {

inline uint32_t shared_address(const void* pointer) {
  return emulation::ThreadBlock::current().shared().address_of(pointer);
}

inline void ldmatrix_x4(uint32_t* fragment, uint32_t row_address) {
  emulation::ThreadBlock& block = emulation::ThreadBlock::current();
  const uint32_t* addresses = block.warp_together([](auto&, uint32_t) {}, row_address);
  const int lane = block.thread() % 32;
  for (int matrix = 0; matrix < 4; ++matrix) {
    const uint32_t row = addresses[matrix * 8 + lane / 4];
    block.shared().check_read(row, "ldmatrix");
    std::memcpy(&fragment[matrix], block.shared().at(row, 16) + lane % 4 * 4, 4);
  }
}

inline float exp2_approx(float x) {
  const float y = std::exp2(x);
  return y < std::numeric_limits<float>::min() ? 0.0F : y;
}

inline uint32_t pack_bf16(float low, float high) {
  const auto rounded = [](float x) -> uint32_t {  // to nearest, ties to even
    if (std::isnan(x)) return 0x7FFF;
    const auto bits = std::bit_cast<uint32_t>(x);
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  };
  return rounded(low) | rounded(high) << 16;
}

}  // namespace seer::cuda
