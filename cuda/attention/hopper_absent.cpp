// In place of hopper.cu and sparse_hopper.cu where a build leaves it out (SEER_CUDA_HOPPER=OFF): the portable kernels serve every device.
#include "cuda/attention/attention.h"
#include "cuda/attention/sparse.h"
#include "src/core/error.h"

namespace seer::cuda {

bool hopper_supports(int64_t) {
  return false;
}

int hopper_thread_blocks(int64_t, int) {
  return 0;
}

void attention_hopper(const AttentionParams&, int64_t head_dim, int, cudaStream_t) {
  fail("head_dim {}: this build has no Hopper kernel", head_dim);
}

bool sparse_hopper_supports(int64_t, int64_t) {
  return false;
}

void sparse_attention_hopper(const SparseParams&, int64_t head_dim, int, cudaStream_t) {
  fail("head_dim {}: this build has no Hopper kernel", head_dim);
}

}  // namespace seer::cuda
