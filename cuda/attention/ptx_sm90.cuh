// The Hopper instructions that CUDA C++ has no names for: one thin wrapper each, no policy.
//
// Addresses of shared memory are 32-bit, as PTX wants them. Words used here:
// - mbarrier: a counter in shared memory with a phase bit. A phase completes when the expected arrivals and,
//   for TMA, the expected bytes have come in; waiters name the parity of the phase they wait for. A fresh
//   barrier is in phase 0, so waiting for parity 1 returns at once: that is how a producer finds all stages
//   empty at the start.
// - TMA: the copy engine. One thread starts a copy of a box of a tensor into shared memory; rows outside the
//   tensor arrive as zeros and count as bytes.
// - wgmma: a matrix product by a warp group (128 threads). Asynchronous: its registers must be left alone
//   until wgmma_wait, which is why the accumulators are operands of the wait.
#pragma once

#include <cstdint>

#include <cuda.h>

#include "cuda/attention/ptx_sm80.cuh"

namespace seer::cuda::ptx {

// ---- mbarrier

__device__ __forceinline__ void mbarrier_init(uint64_t& barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals)
               : "memory");
}

/// After mbarrier_init, before other threads or TMA touch the barriers.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}

/// One arrival, and the phase does not complete before TMA has delivered `bytes`.
__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t& barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(bytes)
               : "memory");
}

#define SEER_MBARRIER_ASK(instruction, complete, barrier, parity) \
  asm volatile(                                                   \
      "{\n"                                                       \
      ".reg .pred complete;\n"                                    \
      "mbarrier." instruction                                     \
      ".parity.shared::cta.b64 complete, [%1], %2;\n"             \
      "selp.u32 %0, 1, 0, complete;\n"                            \
      "}\n"                                                       \
      : "=r"(complete)                                            \
      : "r"(shared_address(&(barrier))), "r"(parity)              \
      : "memory")

/// Whether the phase of this parity has completed.
__device__ __forceinline__ bool mbarrier_test(uint64_t& barrier, uint32_t parity) {
  uint32_t complete;
  SEER_MBARRIER_ASK("test_wait", complete, barrier, parity);
  return complete != 0;
}

/// Waits until the phase of this parity has completed.
__device__ __forceinline__ void mbarrier_wait(uint64_t& barrier, uint32_t parity) {
  uint32_t complete;
  do {
    SEER_MBARRIER_ASK("try_wait", complete, barrier, parity);  // says no after some 20 cycles
  } while (complete == 0);
}

/// The same where the wait is long: the thread sleeps until the barrier changes. One that asks again and again takes an
/// instruction in eight from the warps beside it; one that sleeps wakes up a little later.
__device__ __forceinline__ void mbarrier_wait_asleep(uint64_t& barrier, uint32_t parity) {
  constexpr uint32_t kMostNanoseconds = 10'000'000;
  uint32_t complete;
  do {
    asm volatile(
        "{\n"
        ".reg .pred complete;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2, %3;\n"
        "selp.u32 %0, 1, 0, complete;\n"
        "}\n"
        : "=r"(complete)
        : "r"(shared_address(&barrier)), "r"(parity), "r"(kMostNanoseconds)
        : "memory");
  } while (complete == 0);
}

#undef SEER_MBARRIER_ASK

/// Whether the calling lane is the one that the warp, all of which calls, elects. ptxas knows that it is one: operands
/// of TMA need no loop over the lanes.
__device__ __forceinline__ bool elect_one() {
  uint32_t elected;
  asm volatile(
      "{\n"
      ".reg .pred elected;\n"
      "elect.sync _|elected, 0xFFFFFFFF;\n"
      "selp.u32 %0, 1, 0, elected;\n"
      "}\n"
      : "=r"(elected));
  return elected != 0;
}

// ---- named barriers, 1 to 15 (0 is __syncthreads)

/// Waits until `threads` threads have come to barrier `id`.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// Has L2 fetch the cache line that `from` lies in.
__device__ __forceinline__ void prefetch_to_l2(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

// ---- TMA

__device__ __forceinline__ void prefetch_tensor_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// The box of `map` that begins at element (x, y, z) into shared memory at `to`; its bytes count on
/// `barrier`.
__device__ __forceinline__ void tma_load_3d(void* to, const CUtensorMap& map, int32_t x, int32_t y, int32_t z,
                                            uint64_t& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, "
      "%4}], "
      "[%5];" ::"r"(shared_address(to)),
      "l"(&map), "r"(x), "r"(y), "r"(z), "r"(shared_address(&barrier))
      : "memory");
}

/// Has L2 fetch the box that begins at element (x, y, z).
__device__ __forceinline__ void tma_prefetch_3d(const CUtensorMap& map, int32_t x, int32_t y, int32_t z) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(&map), "r"(x),
               "r"(y), "r"(z)
               : "memory");
}

/// `bytes`, a multiple of 16, of consecutive global memory into shared memory; both at multiples of 16.
__device__ __forceinline__ void bulk_load(void* to, const void* from, uint32_t bytes, uint64_t& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier))
      : "memory");
}

// ---- registers of a warp group; every warp of it executes these

template <int kRegisters>
__device__ __forceinline__ void registers_give_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

template <int kRegisters>
__device__ __forceinline__ void registers_claim() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- wgmma

/// A matrix in shared memory whose rows are 128 bytes in the 128-byte swizzle, as TMA writes them. Groups of
/// 8 rows lie `group_stride` bytes apart. `panel_stride` matters only where the contiguous axis is not the
/// one summed over and longer than 128 bytes: it is then cut into panels that far apart.
struct MatrixDescriptor {
  uint32_t low;   ///< Address and panel stride
  uint32_t high;  ///< Group stride and swizzle

  __device__ __forceinline__ MatrixDescriptor(uint32_t address, uint32_t panel_stride, uint32_t group_stride)
      : low((panel_stride >> 4) << 16 | address >> 4), high(uint32_t{1} << 30 | group_stride >> 4) {}

  /// The same matrix beginning `bytes` later. Addresses stay below 2^18: no carry.
  __device__ __forceinline__ MatrixDescriptor operator+(uint32_t bytes) const {
    MatrixDescriptor moved = *this;
    moved.low += bytes >> 4;
    return moved;
  }
  __device__ __forceinline__ uint64_t bits() const { return static_cast<uint64_t>(high) << 32 | low; }
};

/// Before the first wgmma, and again whenever registers it uses were written.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// clang-format off
#define SEER_REGISTERS_8(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), \
  "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define SEER_REGISTERS_32(d, i) \
  SEER_REGISTERS_8(d, i), SEER_REGISTERS_8(d, i + 8), SEER_REGISTERS_8(d, i + 16), SEER_REGISTERS_8(d, i + 24)
#define SEER_OPERANDS_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SEER_OPERANDS_64 SEER_OPERANDS_32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
// clang-format on

/// Waits until at most kPending committed groups are unfinished; `d` may be read from here on.
template <int kPending>
__device__ __forceinline__ void wgmma_wait(float (&d)[32]) {
  asm volatile("wgmma.wait_group.sync.aligned %32;" : SEER_REGISTERS_32(d, 0) : "n"(kPending) : "memory");
}
template <int kPending>
__device__ __forceinline__ void wgmma_wait(float (&d)[64]) {
  asm volatile("wgmma.wait_group.sync.aligned %64;"
               : SEER_REGISTERS_32(d, 0), SEER_REGISTERS_32(d, 32)
               : "n"(kPending)
               : "memory");
}

/// d[64, 128] = a[64, 16] b[128, 16]^T (+ d where `accumulate`): a from registers, b from shared memory, the
/// summed axis contiguous.
__device__ __forceinline__ void wgmma_m64n128k16(float (&d)[64], const uint32_t* a, MatrixDescriptor b,
                                                 bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SEER_OPERANDS_64
      "}, {%64, %65, %66, %67}, %68, accumulate, 1, 1, 0;\n"
      "}\n"
      : SEER_REGISTERS_32(d, 0), SEER_REGISTERS_32(d, 32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "r"(static_cast<int>(accumulate)));
}

/// d[64, 64] = a[64, 16] b[64, 16]^T (+ d where `accumulate`), likewise.
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], const uint32_t* a, MatrixDescriptor b,
                                                bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SEER_OPERANDS_32
      "}, {%32, %33, %34, %35}, %36, accumulate, 1, 1, 0;\n"
      "}\n"
      : SEER_REGISTERS_32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "r"(static_cast<int>(accumulate)));
}

/// The same with a from shared memory, its summed axis contiguous too.
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], MatrixDescriptor a, MatrixDescriptor b,
                                                bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SEER_OPERANDS_32
      "}, %32, %33, accumulate, 1, 1, 0, 0;\n"
      "}\n"
      : SEER_REGISTERS_32(d, 0)
      : "l"(a.bits()), "l"(b.bits()), "r"(static_cast<int>(accumulate)));
}

/// d[64, 128] += a[64, 16] b[16, 128]: a from registers, b from shared memory with the columns contiguous.
__device__ __forceinline__ void wgmma_m64n128k16(float (&d)[64], const uint32_t* a, MatrixDescriptor b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SEER_OPERANDS_64
               "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
               : SEER_REGISTERS_32(d, 0), SEER_REGISTERS_32(d, 32)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()));
}

/// d[64, 64] += a[64, 16] b[16, 64], likewise.
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], const uint32_t* a, MatrixDescriptor b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SEER_OPERANDS_32
               "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"
               : SEER_REGISTERS_32(d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()));
}

#undef SEER_OPERANDS_64
#undef SEER_OPERANDS_32
#undef SEER_REGISTERS_32
#undef SEER_REGISTERS_8

}  // namespace seer::cuda::ptx
