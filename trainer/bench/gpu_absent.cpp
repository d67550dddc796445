// Compiled in place of attention.cpp, decode.cpp, gemm.cpp, ranks.cpp, sparse.cpp, sparse_gates.cpp and step.cpp in a build
// without the CUDA backend.
#include "src/core/error.h"
#include "trainer/bench/commands.h"

namespace seer {
namespace {

[[noreturn]] void fail_absent(const char* bench) {
  fail(
      "bench {} needs a GPU: this build has no CUDA backend: configure with -DSEER_CUDA=ON where nvcc is "
      "installed, or use "
      "bench cpu",
      bench);
}

}  // namespace

int bench_attention_command(const BenchAttentionOptions& /*options*/) {
  fail_absent("attention");
}
int bench_decode_command(const BenchDecodeOptions& /*options*/) {
  fail_absent("decode");
}
int bench_gemm_command(const BenchGemmOptions& /*options*/) {
  fail_absent("gemm");
}
int bench_sparse_command(const BenchSparseOptions& /*options*/) {
  fail_absent("sparse");
}
int bench_step_command(const BenchStepOptions& /*options*/) {
  fail_absent("step");
}
int bench_ranks_command(const BenchRanksOptions& /*options*/) {
  fail_absent("ranks");
}

}  // namespace seer
