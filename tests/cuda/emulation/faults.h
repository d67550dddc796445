// Mistakes that the emulated instructions can be made to make, to see that they are noticed.
#pragma once

#include <cstdint>

namespace seer::emulation {

enum class Fault {
  kNone,
  kArrivalLost,      ///< An mbarrier does not count an arrival.
  kArrivalTwice,     ///< It counts one twice.
  kWaitSkipped,      ///< Waiting for it returns at once.
  kBytesForgotten,   ///< It expects half as many bytes of TMA as it is told.
  kReleasedEarly,    ///< Who has waited for it arrives at its partner there and then, not when it says so.
  kCopyOneRowOff,    ///< TMA copies rows from one further on.
  kCopyNotSwizzled,  ///< TMA writes rows as they are.
  kProductNotWaitedFor,  ///< wgmma_wait returns at once.
};

/// What goes wrong in every thread block: a fault of the mbarriers among bytes [begin, end) of shared memory, or of
/// copies that count on them, from the event numbered `first` on, `events` times.
struct Injection {
  Fault fault = Fault::kNone;
  uint32_t begin = 0, end = UINT32_MAX;
  uint32_t partner = 0;  ///< kReleasedEarly: byte of the partner of the mbarrier at `begin`; others likewise
  int64_t first = 0, events = INT64_MAX;
};

/// An injection at work in one thread block.
class Faults {
 public:
  explicit Faults(const Injection& injection) : injection_(injection) {}

  /// Whether this event at an mbarrier goes wrong; counts it.
  bool strike(Fault fault, uint32_t byte) {
    if (fault != injection_.fault || byte < injection_.begin || byte >= injection_.end) return false;
    const int64_t event = seen_++;
    return event >= injection_.first && event - injection_.first < injection_.events;
  }
  uint32_t partner_of(uint32_t byte) const { return byte - injection_.begin + injection_.partner; }

 private:
  Injection injection_;
  int64_t seen_ = 0;
};

}  // namespace seer::emulation
