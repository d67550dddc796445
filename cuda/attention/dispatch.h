// Which attention kernel serves a call, and what it needs.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "src/ops/backend.h"

namespace seer::cuda {

/// What the choice depends on beside the call.
struct AttentionChoice {
  DType precision = DType::kBF16;
  bool hopper = false;  ///< Compute capability 9.0, and wanted
  int sm_count = 0;
};

/// fp32: the reference kernel. bf16: of single rows the decode kernel (is_decode()), else the Hopper kernel where it can,
/// else the portable one; throws Error for a head_dim that neither of these two takes.
void attention(cudaStream_t stream, const AttentionChoice& choice, const AttentionArgs& args);

/// Whether a call in bf16 is one for decode.h: a few segments of one row each, block maxima not wanted.
bool is_decode(const AttentionArgs& args);

/// Bytes; depends on totals alone.
size_t attention_workspace(const AttentionChoice& choice, const AttentionArgs& args);

/// Likewise; the Hopper kernel takes blocks of 64 and 128.
void sparse_attention(cudaStream_t stream, const AttentionChoice& choice, const SparseAttentionArgs& args);
size_t sparse_attention_workspace(const AttentionChoice& choice, const SparseAttentionArgs& args);

// ---- shared by the two

constexpr double kLog2E = 1.4426950408889634;

inline const __nv_bfloat16* bf16_elements(const ConstTensor& x) {
  SEER_CHECK(x.dtype() == DType::kBF16, "{}", name_of(x.dtype()));
  return static_cast<const __nv_bfloat16*>(x.raw());
}

}  // namespace seer::cuda
