// The k largest of a row, by one thread block: which value the k-th has, digit by digit (radix select), then everything
// above it and, of its equals, those with the lowest index. Counts are integers: no order of atomics shows.
#pragma once

#include <cstdint>

#include "cuda/device_code.cuh"
#include "src/ops/score_order.h"

namespace seer::cuda {

__device__ inline uint32_t ordered(float x) {
  return ordered_bits(__float_as_uint(x));
}
/// The float that ordered() made this of.
__device__ inline float from_ordered(uint32_t key) {
  return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7fffffffU : ~key);
}

/// A choice among keys: those above `key`, and the first `equals` of its equals.
struct Cut {
  uint32_t key;
  int equals;
};

/// The choice of the `k` largest, 1 <= k <= count, of the keys key(0) .. key(count - 1).
template <int kThreads, typename Key>
__device__ Cut cut_of_largest(Key&& key, int count, int k) {
  constexpr int kDigits = 256;
  static_assert(kThreads == kDigits, "a thread has one digit");
  constexpr int kWarps = kThreads / 32;
  __shared__ int histogram[kDigits];
  __shared__ int of_warp[kWarps];
  __shared__ int chosen;
  __shared__ int rest;
  const auto thread = static_cast<int>(threadIdx.x);
  const int digit =
      kDigits - 1 - thread;  // descending, so that the sum over threads before this one is what is above
  uint32_t prefix = 0;
  uint32_t mask = 0;
  int wanted = k;
  for (int shift = 24; shift >= 0; shift -= 8) {
    histogram[thread] = 0;
    __syncthreads();
    for (int j = thread; j < count; j += kThreads) {
      const uint32_t value = key(j);
      if ((value & mask) == prefix) atomicAdd(&histogram[value >> shift & 0xff], 1);
    }
    __syncthreads();
    const int here = histogram[digit];
    int end = here;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const int before = __shfl_up_sync(0xffffffff, end, distance);
      if (thread % 32 >= distance) end += before;
    }
    if (thread % 32 == 31) of_warp[thread / 32] = end;
    __syncthreads();
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      if (warp < thread / 32) end += of_warp[warp];
    }
    if (end - here < wanted && wanted <= end) {
      chosen = digit;
      rest = wanted - (end - here);
    }
    __syncthreads();
    prefix |= static_cast<uint32_t>(chosen) << shift;
    mask |= 0xffU << shift;
    wanted = rest;
  }
  return {prefix, wanted};
}

/// Calls function(j, place) for every j that the cut chooses; place counts them in the order of j. A thread has several
/// or none. Warps take neighbouring pieces of the row, whose places begin where those before them end.
template <int kThreads, typename Key, typename Function>
__device__ void for_each_chosen(Key&& key, int count, Cut cut, Function&& function) {
  constexpr int kWarps = kThreads / 32;
  __shared__ int above_of[kWarps];
  __shared__ int equal_of[kWarps];
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const int share = (count + kThreads - 1) / kThreads * 32;
  const int begin = min(warp * share, count);
  const int end = min(begin + share, count);
  const auto each_step = [&](auto&& step) {
    for (int first = begin; first < end; first += 32) {
      const int j = first + lane;
      const uint32_t value = j < end ? key(j) : 0;
      const bool above = j < end && value > cut.key;
      const bool equal = j < end && value == cut.key;
      step(j, above, equal, __ballot_sync(0xffffffff, above), __ballot_sync(0xffffffff, equal));
    }
  };

  int aboves = 0;
  int equals = 0;
  each_step([&](int, bool, bool, unsigned above, unsigned equal) {
    aboves += __popc(above);
    equals += __popc(equal);
  });
  __syncthreads();  // what an earlier call left has been read
  if (lane == 0) {
    above_of[warp] = aboves;
    equal_of[warp] = equals;
  }
  __syncthreads();
  aboves = equals = 0;
  for (int w = 0; w < warp; ++w) {
    aboves += above_of[w];
    equals += equal_of[w];
  }
  const unsigned lower_lanes = (1U << lane) - 1;
  each_step([&](int j, bool above, bool equal, unsigned above_lanes, unsigned equal_lanes) {
    const int equals_before = equals + __popc(equal_lanes & lower_lanes);
    if (above || (equal && equals_before < cut.equals)) {
      function(j, aboves + __popc(above_lanes & lower_lanes) + min(equals_before, cut.equals));
    }
    aboves += __popc(above_lanes);
    equals += __popc(equal_lanes);
  });
}

}  // namespace seer::cuda
