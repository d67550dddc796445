// Ways to score the blocks of an attention map before it is computed: the trained gate, what it is compared with, and
// the oracle.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace seer {

struct ScoringMethod {
  enum class Kind {
    kGate,    ///< The trained AttnGate (SEMANTICS 2).
    kOracle,  ///< The ground truth T itself (SEMANTICS 3): what no predictor can beat in recall.
    kMinMaxBound,  ///< Mean rotated query against the keys' channel-wise bounds: the largest q . k possible (Quest).
    kMeanPooled,    ///< Mean rotated query . mean rotated key (MoBA).
    kAntidiagonal,  ///< Attention sampled along antidiagonals of stride x stride tiles (XAttention).
    kWindow,        ///< The first block, then the nearest: sink + sliding window (StreamingLLM).
    kRandom,        ///< Uniform scores: what knowing nothing gives.
  };

  Kind kind = Kind::kGate;
  int64_t stride = 0;  ///< Of kAntidiagonal
  uint64_t seed = 0;   ///< Of kRandom

  bool operator==(const ScoringMethod&) const = default;
};

/// "gate", "oracle", "minmax", "mean", "antidiagonal8", "antidiagonal16", "window", "random"; anything else is a usage
/// Error that lists them.
ScoringMethod parse_scoring_method(std::string_view name);
std::string to_string(const ScoringMethod& method);
/// All names that parse_scoring_method() takes.
const std::vector<std::string>& scoring_method_names();

}  // namespace seer
