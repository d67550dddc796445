// `seer-train bench sparse --model M --gates G --data FILE`.
#pragma once

#include "trainer/bench/commands.h"

namespace seer {

/// The part of bench_sparse_command() that takes its q, k, v and lists from a model and its gates.
int bench_sparse_gates(const BenchSparseOptions& options);

}  // namespace seer
