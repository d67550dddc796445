// Stands before cuda/attention/ptx_sm90.cuh on the include path of emulated kernels: the same functions, as far as the
// sparse kernel calls them, on an emulated thread block.
#pragma once

#include <cstdint>

#include <cuda.h>

#include "cuda/attention/ptx_sm80.cuh"
#include "tests/cuda/emulation/mbarrier.h"

namespace seer::cuda::ptx {

// ---- mbarrier

inline void mbarrier_init(uint64_t& barrier, uint32_t arrivals) {
  emulation::mbarrier_init(barrier, arrivals);
}
inline void fence_mbarrier_init() {}
inline void mbarrier_arrive(uint64_t& barrier) {
  emulation::mbarrier_arrive(barrier);
}
inline void mbarrier_arrive_expect(uint64_t& barrier, uint32_t bytes) {
  emulation::mbarrier_expect(barrier, bytes);
  emulation::mbarrier_arrive(barrier);
}
inline void mbarrier_wait(uint64_t& barrier, uint32_t parity) {
  emulation::mbarrier_wait(barrier, parity);
}
inline void mbarrier_wait_asleep(uint64_t& barrier, uint32_t parity) {
  emulation::mbarrier_wait(barrier, parity);
}
inline bool elect_one() {
  return emulation::ThreadBlock::current().thread() % 32 == 0;
}

// ---- TMA

inline void prefetch_to_l2(const void*) {}
inline void prefetch_tensor_map(const CUtensorMap&) {}
inline void tma_load_3d(void* to, const CUtensorMap& map, int32_t x, int32_t y, int32_t z,
                        uint64_t& barrier) {
  emulation::ThreadBlock::current().copies().start(to, map, x, y, z, barrier);
}
inline void tma_prefetch_3d(const CUtensorMap&, int32_t, int32_t, int32_t) {}

// ---- registers of a warp group

template <int kRegisters>
void registers_give_back() {
  emulation::ThreadBlock::current().set_registers(kRegisters);
}
template <int kRegisters>
void registers_claim() {
  emulation::ThreadBlock::current().set_registers(kRegisters);
}

// ---- wgmma

struct MatrixDescriptor {
  uint32_t low, high;

  MatrixDescriptor(uint32_t address, uint32_t panel_stride, uint32_t group_stride)
      : low((panel_stride >> 4) << 16 | address >> 4), high(uint32_t{1} << 30 | group_stride >> 4) {}
  MatrixDescriptor operator+(uint32_t bytes) const {
    MatrixDescriptor moved = *this;
    moved.low += bytes >> 4;
    return moved;
  }
  uint64_t bits() const { return static_cast<uint64_t>(high) << 32 | low; }
};

/// a from registers or, as a descriptor, from shared memory.
template <int kCount>
void queue_product(float (&d)[kCount], const uint32_t* a, MatrixDescriptor b, bool by_columns,
                   bool accumulate) {
  emulation::ThreadBlock& block = emulation::ThreadBlock::current();
  block.products().queue(block.thread() % 128, {2 * kCount, false, 0, b.bits(), by_columns, accumulate}, d,
                         a);
}
template <int kCount>
void queue_product(float (&d)[kCount], MatrixDescriptor a, MatrixDescriptor b, bool by_columns,
                   bool accumulate) {
  emulation::ThreadBlock& block = emulation::ThreadBlock::current();
  block.products().queue(block.thread() % 128, {2 * kCount, true, a.bits(), b.bits(), by_columns, accumulate},
                         d, nullptr);
}

inline void wgmma_fence() {}
inline void wgmma_commit() {
  emulation::ThreadBlock& block = emulation::ThreadBlock::current();
  block.products().commit(block.thread() % 128);
}
template <int kPending, int kCount>
void wgmma_wait(float (&)[kCount]) {
  emulation::ThreadBlock& block = emulation::ThreadBlock::current();
  block.products().wait(block.thread() % 128, kPending);
}

inline void wgmma_m64n128k16(float (&d)[64], const uint32_t* a, MatrixDescriptor b, bool accumulate) {
  queue_product(d, a, b, false, accumulate);
}
inline void wgmma_m64n64k16(float (&d)[32], const uint32_t* a, MatrixDescriptor b, bool accumulate) {
  queue_product(d, a, b, false, accumulate);
}
inline void wgmma_m64n64k16(float (&d)[32], MatrixDescriptor a, MatrixDescriptor b, bool accumulate) {
  queue_product(d, a, b, false, accumulate);
}
inline void wgmma_m64n128k16(float (&d)[64], const uint32_t* a, MatrixDescriptor b) {
  queue_product(d, a, b, true, true);
}
inline void wgmma_m64n64k16(float (&d)[32], const uint32_t* a, MatrixDescriptor b) {
  queue_product(d, a, b, true, true);
}

}  // namespace seer::cuda::ptx
