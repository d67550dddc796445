// From logits to the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/core/rng.h"

namespace seer {

struct SamplingOptions {
  double temperature = 0;  ///< 0: the likeliest token, the lowest id among equals
  double top_p = 1;        ///< Of the likeliest tokens, the fewest that hold this probability
  uint64_t seed = 42;
};

/// Draws tokens; the n-th draw depends on the seed, the logits and n alone.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options)
      : options_(options), rng_(Rng(options.seed).fork("sampling")) {}

  int32_t next(std::span<const float> logits);

 private:
  SamplingOptions options_;
  Rng rng_;
  std::vector<int32_t> order_;
  std::vector<double> weights_;
};

}  // namespace seer
