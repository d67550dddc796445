// The peer of our attention kernels in the benches: cuDNN's own fused attention.
//
// cuDNN itself is opened at run time (cudnn_library.h). The operation graph is put together by NVIDIA's header-only
// cudnn-frontend, which knows what each cuDNN version accepts; a build that did not find those headers
// (cmake/cudnn_frontend.cmake) has the class all the same, and its constructor says how to get them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace seer::cuda {

/// Causal attention of one sequence over itself, or of its last token alone. A row holds all heads of a token.
struct CudnnAttentionShape {
  int64_t tokens = 0;
  bool last_token = false;  ///< q, o and logsumexp have one row, the last token's
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  ///< Divides num_heads.
  int64_t head_dim = 0;
  float scale = 0.0F;      ///< 1/sqrt(head_dim)
  bool logsumexp = false;  ///< Whether run() writes it.
  /// Elements from one token's row to the next; 0: rows lie one behind the other.
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, o_stride = 0;
};

/// Device pointers of one run.
struct CudnnAttentionTensors {
  const __nv_bfloat16* q = nullptr;  ///< [tokens, num_heads, head_dim]; of last_token one row
  const __nv_bfloat16* k = nullptr;  ///< [tokens, num_kv_heads, head_dim]
  const __nv_bfloat16* v = nullptr;  ///< [tokens, num_kv_heads, head_dim]
  __nv_bfloat16* o = nullptr;        ///< Like q
  float* logsumexp = nullptr;        ///< [num_heads, rows of q], natural log; not touched unless planned
};

class CudnnAttention {
 public:
  /// Opens cuDNN as load_cudnn() does, for the current device. Throws Error if there is none.
  explicit CudnnAttention(const std::string& library_path = "");
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  /// cuDNN's, e.g. "9.19.0".
  std::string version() const;
  std::string library_path() const;

  /// Builds the execution plan that cuDNN's heuristics put first, in place of the last one (compiling its kernels can
  /// take a second). Returns the bytes of workspace run() needs; throws Error in cuDNN's words if it refuses.
  size_t plan(const CudnnAttentionShape& shape);

  /// Enqueues the planned attention. `workspace` may be null if plan() returned 0.
  void run(const CudnnAttentionTensors& tensors, void* workspace, cudaStream_t stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace seer::cuda
