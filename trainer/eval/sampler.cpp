#include "trainer/eval/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/core/error.h"

namespace seer {

int32_t Sampler::next(std::span<const float> logits) {
  SEER_CHECK(!logits.empty(), "no logits");
  const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (options_.temperature <= 0) return best;

  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(),
            [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  weights_.resize(logits.size());
  double all = 0;
  for (size_t i = 0; i < order_.size(); ++i) {
    weights_[i] = std::exp((static_cast<double>(logits[order_[i]]) - static_cast<double>(logits[best])) /
                           options_.temperature);
    all += weights_[i];
  }
  double kept = 0;
  size_t count = 0;
  while (count < order_.size() && (count == 0 || kept < options_.top_p * all)) kept += weights_[count++];
  double draw = rng_.uniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    draw -= weights_[i];
    if (draw < 0) return order_[i];
  }
  return order_[count - 1];  // rounding has left a rest
}

}  // namespace seer
