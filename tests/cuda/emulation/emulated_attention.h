// The Hopper sparse attention kernel, from its own sources, on an emulated GPU.
#pragma once

#include "tests/cuda/emulation/launch.h"
#include "tests/cuda/sparse_attention_case.h"

namespace seer::test {

struct EmulatedRun {
  emulation::LaunchSettings settings;
  int thread_blocks = 1;
  bool longest_first = true;  ///< Work in the order that order_lists() makes; otherwise in any
  bool rows_together = true;  ///< A head's block rows are neighbours; otherwise a block row's heads
};

/// How a case is run the number-th time: seed, thread blocks, order and neighbours all differ.
EmulatedRun run_number(uint64_t number);

/// Heads [head_begin, head_begin + head_count) of the output; a test failure if others were written. Inputs lie between
/// NaN, outputs begin as NaN. Throws Error if the kernel does what it must not.
Values run_emulated(const SparseCase& c, const AttentionProblem& p, int64_t head_begin, int64_t head_count,
                    const EmulatedRun& how);

}  // namespace seer::test
