// mbarriers, in the 8 bytes of shared memory that the kernel gives them. An arrival that nobody expects is an error, and
// so is a barrier that was not initialised. Stricter than the hardware: a thread that arrives twice in a phase, which in
// our kernels is one that a phase of too few arrivals did not wait for.
#pragma once

#include <cstdint>

namespace seer::emulation {

void mbarrier_init(uint64_t& barrier, uint32_t arrivals);
void mbarrier_arrive(uint64_t& barrier);
/// The phase does not complete before TMA has delivered so many bytes more.
void mbarrier_expect(uint64_t& barrier, uint32_t bytes);
/// By TMA.
void mbarrier_deliver(uint64_t& barrier, uint32_t bytes);
/// Whether the phase of this parity has completed.
bool mbarrier_test(const uint64_t& barrier, uint32_t parity);
void mbarrier_wait(uint64_t& barrier, uint32_t parity);

}  // namespace seer::emulation
