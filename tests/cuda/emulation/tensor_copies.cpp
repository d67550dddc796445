#include "tests/cuda/emulation/tensor_copies.h"

#include <cstring>
#include <utility>

#include "src/core/error.h"
#include "tests/cuda/emulation/mbarrier.h"
#include "tests/cuda/emulation/thread_block.h"

namespace seer::emulation {
namespace {

constexpr uint32_t kBoxColumns = 64;
constexpr uint32_t kRowBytes = kBoxColumns * sizeof(uint16_t);
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

}  // namespace

CUtensorMap encode(const TensorMap& map) {
  CUtensorMap encoded{};
  std::memcpy(&encoded, &map, sizeof(map));
  return encoded;
}

void TensorCopies::start(void* to, const CUtensorMap& map, int32_t column, int32_t head, int32_t row,
                         uint64_t& barrier) {
  ThreadBlock& block = ThreadBlock::current();
  Copy copy{block.shared().address_of(to), {}, column, head, row, &barrier, true};
  std::memcpy(&copy.from, &map, sizeof(copy.from));
  const uint32_t bytes = copy.from.box_rows * kRowBytes;
  if (copy.to % kRowBytes != 0) fail("TMA writes to shared address {}", copy.to);
  block.shared().begin_write(copy.to, bytes);
  std::memset(to, 0xFF, bytes);
  const uint32_t byte = block.shared().byte_of(&barrier);
  if (block.faults().strike(Fault::kCopyOneRowOff, byte)) ++copy.row;
  if (block.faults().strike(Fault::kCopyNotSwizzled, byte)) copy.swizzled = false;
  on_their_way_.push_back(copy);
}

void TensorCopies::finish_one(Rng& random) {
  std::swap(on_their_way_[random.below(on_their_way_.size())], on_their_way_.back());
  const Copy copy = on_their_way_.back();
  on_their_way_.pop_back();
  const TensorMap& from = copy.from;
  SharedMemory& shared = ThreadBlock::current().shared();
  for (int32_t r = 0; r < from.box_rows; ++r) {
    const int64_t row = int64_t{copy.row} + r;
    for (uint32_t c = 0; c < kBoxColumns; ++c) {
      const int64_t column = int64_t{copy.column} + c;
      const bool exists = row >= 0 && row < from.rows && copy.head >= 0 && copy.head < from.heads &&
                          column >= 0 && column < from.head_dim;
      const uint16_t bits =
          exists ? from.x[row * from.stride + copy.head * from.head_dim + column] : uint16_t{0};
      const uint32_t to = copy.to + r * kRowBytes + c * sizeof(bits);
      std::memcpy(copy.swizzled ? shared.at_swizzled(to, sizeof(bits)) : shared.at(to, sizeof(bits)), &bits,
                  sizeof(bits));
    }
  }
  const uint32_t bytes = from.box_rows * kRowBytes;
  shared.end_write(copy.to, bytes);
  mbarrier_deliver(*copy.barrier, bytes);
}

}  // namespace seer::emulation
