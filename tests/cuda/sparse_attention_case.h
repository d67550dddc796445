// Cases of block-sparse attention in bf16: which blocks rows keep, what comes out in fp64, and how close a kernel must
// get.
#pragma once

#include <iosfwd>
#include <string>

#include "tests/cuda/attention_case.h"
#include "tests/ops/block_lists.h"

namespace seer::test {

enum class Lists {
  kRandom,  ///< A third of what a row sees, the diagonal or not; rows without any block among them
  kShared,  ///< The same for the heads of a group
  kAll,
  kNone,
  kDiagonal,
  kDisjoint,   ///< Even heads keep the first half of what they see, odd ones the second
  kSomeHeads,  ///< Every third head keeps nothing
  kGaps        ///< Even heads keep all, odd ones blocks about as far apart as a ring of stages is long
};

std::string name_of(Lists lists);

struct SparseCase {
  AttentionCase attention;
  Lists lists = Lists::kRandom;
};

void PrintTo(const SparseCase& c, std::ostream* out);  // NOLINT(readability-identifier-naming)

/// Of heads [head_begin, head_begin + head_count).
KeptBlocks kept_blocks(const SparseCase& c, int64_t head_begin, int64_t head_count);

/// [query rows, heads computed, D]
Values reference_sparse_attention(const SparseCase& c, const AttentionProblem& p);

/// Heads [head_begin, head_begin + head_count) of an output tensor that was NaN, whose rows of `stride` elements begin one
/// head before the first. Fails if anything else was written.
Values written_heads(const Values& all, int64_t stride, int64_t head_dim, int64_t head_begin,
                     int64_t head_count);

/// All of it within 2.5e-3, each row (of one token and head) within 1e-2, rows without blocks 0.
void expect_output(const Values& actual, const Values& expected, int64_t head_dim);

}  // namespace seer::test
