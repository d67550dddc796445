// The order in which many arrays are added up to one: a binary tree that depends on their number alone.
//
// n arrays are the sum of the first ceil(n/2) and the sum of the rest. Where n is split evenly over 2, 4, 8 .. ranks in
// contiguous shares, every rank's share is a subtree: each adds up its own, the ranks add up the results by the same
// rule, and every number of ranks gives the same bits.
#pragma once

#include <cstdint>

namespace seer {

/// How many sums are complete, one inside the other, once array `i` of `n` has arrived: so many times the newest
/// partial sum is added to the one before it.
constexpr int tree_merges(int64_t i, int64_t n) {
  int merges = 0;
  while (n > 1) {
    const int64_t first = (n + 1) / 2;
    if (i < first) {
      merges = 0;
      n = first;
    } else {
      ++merges;
      i -= first;
      n -= first;
    }
  }
  return merges;
}

/// Partial sums that wait at the same time, at most, while n arrays arrive one by one.
constexpr int tree_depth(int64_t n) {
  int depth = n > 0 ? 1 : 0;
  for (; n > 1; n = (n + 1) / 2) ++depth;
  return depth;
}

}  // namespace seer
