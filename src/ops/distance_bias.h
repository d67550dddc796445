// A head's learned bias on the distance between a query block and a key block: what a gate that pools blocks cannot see,
// as its keys sit at their blocks' first tokens.
//
//   bias(i, j) = kDistanceScale * (sum over k of w[k] * ramp(k, i - j) + (j == 0 ? w[kDistanceRamps] : 0))
//
// Ramp k climbs from 0 at distance_knot(k) to 1 at distance_knot(k + 1) and stays there: weights are the steps of a curve
// that is piecewise linear in the distance, and distances never trained on go on where the last trained one left off.
// The softmax over a row does not see a constant, so the curve begins at 0.
//
// AdamW moves a weight by no more than its learning rate a step, in all some tenths, while maps fall by several nats within
// a few blocks: kDistanceScale lets the bias travel as far as it must with the linears' own learning rate. Its gradients are
// as much larger, and count in the norm by which all of a gate's gradients are clipped.
#pragma once

#include <cstdint>

namespace seer {

constexpr int kDistanceRamps = 28;
constexpr int kDistanceTerms = kDistanceRamps + 1;  ///< Weights of a head: ramps, then the first block
constexpr float kDistanceScale = 32.0F;

/// Distances, in blocks, between which the curve is linear: 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, .. 16384.
constexpr int64_t distance_knot(int k) {
  return k < 4 ? k : static_cast<int64_t>(k % 2 == 0 ? 4 : 6) << (k - 4) / 2;
}
static_assert(distance_knot(4) == 4 && distance_knot(5) == 6 && distance_knot(6) == 8 &&
              distance_knot(kDistanceRamps) == 16384);

/// How far ramp k has climbed at `distance`, 0 to 1.
template <typename T>
constexpr T distance_ramp(int k, int64_t distance) {
  const int64_t low = distance_knot(k);
  const int64_t high = distance_knot(k + 1);
  if (distance <= low) return T(0);
  if (distance >= high) return T(1);
  return static_cast<T>(distance - low) / static_cast<T>(high - low);
}

/// The curve of a head's weights w[kDistanceTerms] at `distance`, without the first block's part.
template <typename T>
constexpr T distance_curve(const T* w, int64_t distance) {
  T sum = 0;
  for (int k = 0; k < kDistanceRamps; ++k) sum += w[k] * distance_ramp<T>(k, distance);
  return T(kDistanceScale) * sum;
}

}  // namespace seer
