// Which attention kernel serves a call, and what it needs.
#pragma once

#include <cuda_runtime.h>

#include "src/ops/backend.h"

namespace seer::cuda {

/// What the choice depends on beside the call.
struct AttentionChoice {
  DType precision = DType::kBF16;
  bool hopper = false;  ///< Compute capability 9.0, and wanted
  int sm_count = 0;
};

/// fp32: the reference kernel. bf16: the Hopper kernel where it can, else the portable one; throws Error for a
/// head_dim that neither takes.
void attention(cudaStream_t stream, const AttentionChoice& choice, const AttentionArgs& args);

/// Bytes; depends on totals alone.
size_t attention_workspace(const AttentionChoice& choice, const AttentionArgs& args);

}  // namespace seer::cuda
