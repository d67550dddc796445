// Cases of attention in bf16 and their inputs.
#pragma once

#include <iosfwd>
#include <string>

#include "tests/cuda/attention_reference.h"

namespace seer::test {

/// What q and k hold; v is always random.
enum class Content {
  kRandom,
  kScoresOf60,  ///< Some 60 either way, at random
  kPlusMinus,   ///< +60 and -60 in turn, each for 40 keys: rows see -60 alone, then +60 appears
  kFlat,        ///< q = 0
  kOneKey,      ///< All of a row's mass on key 37, once it sees it
  kGrowing,     ///< Later keys score higher, up to 60: the running maximum rises in every tile
  kShrinking,
};

struct AttentionCase {
  std::string name;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  Pack pack;
  int64_t block = 64;
  Content content = Content::kRandom;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< 0: all
};

void PrintTo(const AttentionCase& c, std::ostream* out);  // NOLINT(readability-identifier-naming)

/// Heads that the case computes.
int64_t heads_computed(const AttentionCase& c);
AttentionProblem problem_of(const AttentionCase& c);

bool same_bits(const Values& a, const Values& b);

}  // namespace seer::test
