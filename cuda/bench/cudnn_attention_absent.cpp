// Compiled in place of cudnn_attention.cpp where the build found no cudnn-frontend: the bench says how to get it.
#include "cuda/bench/cudnn_attention.h"
#include "src/core/error.h"

namespace seer::cuda {
namespace {

[[noreturn]] void fail_absent() {
  fail(
      "cuDNN cannot be measured: this seer-train was built without the headers of cuDNN or of NVIDIA's "
      "cudnn-frontend; run tools/setup.sh --gpu (or see cmake/cudnn_frontend.cmake), configure and build "
      "again");
}

}  // namespace

struct CudnnAttention::Impl {};

CudnnAttention::CudnnAttention(const std::string& /*library_path*/) {
  fail_absent();
}
CudnnAttention::~CudnnAttention() = default;

// Without an object these are never reached; they are here for the linker.
std::string CudnnAttention::version() const {
  fail_absent();
}
std::string CudnnAttention::library_path() const {
  fail_absent();
}
size_t CudnnAttention::plan(const CudnnAttentionShape& /*shape*/) {
  fail_absent();
}
void CudnnAttention::run(const CudnnAttentionTensors& /*tensors*/, void* /*workspace*/,
                         cudaStream_t /*stream*/) {
  fail_absent();
}

}  // namespace seer::cuda
