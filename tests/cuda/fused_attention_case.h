// Calls of the fused attention kernels in bf16, and everything a call gives.
#pragma once

#include <string>
#include <vector>

#include "tests/cuda/attention_case.h"

namespace seer::test {

enum class Path { kPortable, kDefault };
inline constexpr Path kPaths[] = {Path::kPortable, Path::kDefault};

std::string name_of(Path path);
Device make_device(Path path);

/// What a call is asked for.
struct Wanted {
  bool output = true;
  bool logsumexp = true;
  bool maxima = true;
  std::vector<int64_t> coarser;  ///< T for these block sizes instead of the maxima's own
};

struct FusedResult : AttentionResult {
  std::vector<Values> targets;  ///< Wanted::coarser
  bool only_heads_of_the_range = true;
};

/// Inputs lie between NaN, outputs and scratch begin as NaN.
FusedResult run_attention(Device& device, const AttentionCase& c, const AttentionProblem& p,
                          const Wanted& wanted = {});

/// [rows, heads, D] in bf16 with a head of NaN before and behind every row.
Tensor between_nan(Device& device, int64_t heads, int64_t head_dim, const Values& values);

}  // namespace seer::test
