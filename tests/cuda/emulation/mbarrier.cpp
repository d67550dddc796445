#include "tests/cuda/emulation/mbarrier.h"

#include "src/core/error.h"
#include "tests/cuda/emulation/thread_block.h"

namespace seer::emulation {
namespace {

/// Bits 0 to 11: arrivals of a phase; 12 to 23: those still to come; 24: the phase's parity; 25 to 31: kMark; 32 to 63:
/// bytes still to come.
struct State {
  static constexpr uint64_t kParity = uint64_t{1} << 24;
  static constexpr uint32_t kMark = 0x2D;

  uint32_t arrivals, pending, parity;
  int32_t bytes;

  static State load(const uint64_t& barrier) {
    if ((barrier >> 25 & 0x7F) != kMark) {
      fail("the mbarrier at byte {} is used before it is initialised",
           ThreadBlock::current().shared().byte_of(&barrier));
    }
    return {static_cast<uint32_t>(barrier & 0xFFF), static_cast<uint32_t>(barrier >> 12 & 0xFFF),
            static_cast<uint32_t>(barrier >> 24 & 1), static_cast<int32_t>(barrier >> 32)};
  }

  void store(uint64_t& barrier) {
    if (pending == 0 && bytes == 0) {
      parity ^= 1;
      pending = arrivals;
      ThreadBlock::current().forget_arrivals(ThreadBlock::current().shared().byte_of(&barrier));
    }
    barrier = arrivals | pending << 12 | parity << 24 | kMark << 25 |
              static_cast<uint64_t>(static_cast<uint32_t>(bytes)) << 32;
  }
};

void count_arrival(uint64_t& barrier) {
  State state = State::load(barrier);
  if (state.pending == 0) {
    fail("the mbarrier at byte {} gets more than {} arrivals in a phase",
         ThreadBlock::current().shared().byte_of(&barrier), state.arrivals);
  }
  --state.pending;
  state.store(barrier);
}

}  // namespace

void mbarrier_init(uint64_t& barrier, uint32_t arrivals) {
  if (arrivals == 0 || arrivals > 0xFFF) fail("an mbarrier of {} arrivals", arrivals);
  State{arrivals, arrivals, 0, 0}.store(barrier);
}

void mbarrier_arrive(uint64_t& barrier) {
  ThreadBlock& block = ThreadBlock::current();
  const uint32_t byte = block.shared().byte_of(&barrier);
  if (block.take_early_arrival(byte)) return;
  if (block.faults().strike(Fault::kArrivalLost, byte)) return;
  if (State::load(barrier).pending > 0 && !block.note_arrival(byte))
    fail("thread {} arrives twice in a phase of the mbarrier at byte {}", block.thread(), byte);
  count_arrival(barrier);
  if (block.faults().strike(Fault::kArrivalTwice, byte)) count_arrival(barrier);
  // Those who waited for it may run far ahead before this thread goes on.
  if (block.random().below(4) == 0) {
    for (uint64_t turns = block.random().below(24); turns > 0; --turns) block.pause();
  }
}

void mbarrier_expect(uint64_t& barrier, uint32_t bytes) {
  ThreadBlock& block = ThreadBlock::current();
  State state = State::load(barrier);
  const bool forget = block.faults().strike(Fault::kBytesForgotten, block.shared().byte_of(&barrier));
  state.bytes += static_cast<int32_t>(forget ? bytes / 2 : bytes);
  state.store(barrier);
}

void mbarrier_deliver(uint64_t& barrier, uint32_t bytes) {
  State state = State::load(barrier);
  state.bytes -= static_cast<int32_t>(bytes);
  state.store(barrier);
}

bool mbarrier_test(const uint64_t& barrier, uint32_t parity) {
  return State::load(barrier).parity != parity;
}

void mbarrier_wait(uint64_t& barrier, uint32_t parity) {
  ThreadBlock& block = ThreadBlock::current();
  const uint32_t byte = block.shared().byte_of(&barrier);
  if (block.faults().strike(Fault::kWaitSkipped, byte)) return;
  while (!mbarrier_test(barrier, parity))
    block.wait({&barrier, State::kParity, barrier & State::kParity, "an mbarrier"});
  if (block.thread() % 32 == 0 && block.faults().strike(Fault::kReleasedEarly, byte)) {
    const uint32_t partner = block.faults().partner_of(byte);
    count_arrival(*reinterpret_cast<uint64_t*>(block.shared().begin() + partner));
    block.note_early_arrival(partner);
  }
  if (block.random().below(8) == 0) block.pause();
}

}  // namespace seer::emulation
