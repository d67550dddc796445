// The words of CUDA C++ that the emulated kernels use, for a compiler of the host. Before everything else of a kernel.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "src/core/error.h"
#include "tests/cuda/emulation/launch.h"
#include "tests/cuda/emulation/thread_block.h"

#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

/// One thread block runs at a time.
#undef __shared__
#define __shared__ static

#define blockIdx (::seer::emulation::block_index())
#define threadIdx (uint3{static_cast<unsigned>(::seer::emulation::ThreadBlock::current().thread()), 0, 0})

using std::max;
using std::min;

inline void __syncthreads() {
  seer::emulation::ThreadBlock::current().all_together();
}

/// Masks of lanes are not looked at: the kernels name the whole warp.
inline void __syncwarp(unsigned = ~0U) {
  seer::emulation::ThreadBlock::current().warp_together([](auto&, uint32_t) {}, 0);
}

/// `combine` of all lanes' values, for all lanes.
template <typename Combine>
uint32_t __reduce_emulated(uint32_t value) {
  const auto reduce = [](uint32_t(&values)[32], uint32_t) {
    uint32_t all = values[0];
    for (const uint32_t other : values) all = Combine()(all, other);
    std::ranges::fill(values, all);
  };
  return *seer::emulation::ThreadBlock::current().warp_together(reduce, value);
}

inline int __reduce_max_sync(unsigned, int value) {
  struct Max {
    uint32_t operator()(uint32_t a, uint32_t b) { return static_cast<int>(a) < static_cast<int>(b) ? b : a; }
  };
  return static_cast<int>(__reduce_emulated<Max>(static_cast<uint32_t>(value)));
}

inline int __reduce_min_sync(unsigned, int value) {
  struct Min {
    uint32_t operator()(uint32_t a, uint32_t b) { return static_cast<int>(a) < static_cast<int>(b) ? a : b; }
  };
  return static_cast<int>(__reduce_emulated<Min>(static_cast<uint32_t>(value)));
}

inline unsigned __reduce_or_sync(unsigned, unsigned value) {
  return __reduce_emulated<std::bit_or<uint32_t>>(value);
}

inline int __popc(unsigned value) {
  return std::popcount(value);
}

inline int __clz(int value) {
  return std::countl_zero(static_cast<unsigned>(value));
}

inline int __ffs(int value) {
  return value == 0 ? 0 : std::countr_zero(static_cast<unsigned>(value)) + 1;
}

inline int __any_sync(unsigned, int value) {
  const auto any = [](uint32_t(&values)[32], uint32_t) {
    std::ranges::fill(values, std::ranges::count(values, 0U) < 32 ? 1U : 0U);
  };
  return static_cast<int>(*seer::emulation::ThreadBlock::current().warp_together(any, value != 0 ? 1U : 0U));
}

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  const auto broadcast = [](uint32_t(&values)[32], uint32_t from) {
    const uint32_t theirs = values[from];
    std::ranges::fill(values, theirs);
  };
  return std::bit_cast<T>(*seer::emulation::ThreadBlock::current().warp_together(
      broadcast, std::bit_cast<uint32_t>(value), lane));
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int lanes) {
  const auto exchange = [](uint32_t(&values)[32], uint32_t other) {
    uint32_t exchanged[32];
    for (uint32_t lane = 0; lane < 32; ++lane) exchanged[lane] = values[lane ^ other];
    std::ranges::copy(exchanged, values);
  };
  seer::emulation::ThreadBlock& block = seer::emulation::ThreadBlock::current();
  const uint32_t* values = block.warp_together(exchange, std::bit_cast<uint32_t>(value), lanes);
  return std::bit_cast<T>(values[block.thread() % 32]);
}

template <typename T>
T __ldg(const T* from) {
  return *from;
}
template <typename T>
T __ldcg(const T* from) {
  return *from;
}

template <typename T>
void __stcg(T* to, T value) {
  *to = value;
}

inline float __fdividef(float a, float b) {
  return a / b;
}

inline int atomicAdd(int* counter, int value) {
  if (value != 1) seer::fail("atomicAdd of {}: only work counters are emulated", value);
  return seer::emulation::take_from(counter);
}

[[noreturn]] inline void __trap() {
  seer::fail("__trap");
}
