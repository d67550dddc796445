// The PTX instructions of compute capability 8.0 that the attention kernels are made of, one thin function
// each. Shared memory is addressed by its 32-bit shared-window address.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace seer::cuda {

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Starts copying 16 bytes from global to shared memory, past L1 and registers. Only the first `bytes` (0 or
/// 16) are read, the rest is filled with zeros: with 0, `from` is not touched. Both addresses are multiples
/// of 16.
__device__ inline void cp_async_16(uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

/// Closes the group of this thread's copies started since the last call; a group may be empty.
__device__ inline void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most kPending of this thread's latest groups are under way.
template <int kPending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// Loads four 8x8 matrices of 16-bit elements. Lanes 8i .. 8i+7 pass the addresses of the eight 16-byte
/// rows of matrix i; fragment[i] of lane l then holds elements 2(l%4), 2(l%4)+1 of row l/4.
__device__ inline void ldmatrix_x4(uint32_t* fragment, uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(row_address)
               : "memory");
}

/// The same, each matrix transposed: fragment[i] of lane l holds rows 2(l%4), 2(l%4)+1 of column l/4.
__device__ inline void ldmatrix_x4_transposed(uint32_t (&fragment)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(row_address)
               : "memory");
}

/// c += a b for one warp: a [16 rows, 16] and b [16, 8 columns] in bf16, c [16, 8] in fp32. Lane l holds
///   a[0], a[1]: rows l/4 and l/4 + 8 at k = 2(l%4), +1;   a[2], a[3]: the same rows at k + 8;
///   b0, b1: column l/4 at k = 2(l%4), +1 and at k + 8;
///   c[0], c[1]: row l/4 at columns 2(l%4), +1;            c[2], c[3]: row l/4 + 8.
__device__ inline void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// 2^x to about 2 ulp in one instruction; 0 for -inf and wherever the result would be denormal.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Two floats rounded to bf16, `low` in the low half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

}  // namespace seer::cuda
