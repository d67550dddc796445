#include "trainer/bench/require_gpu.h"

#include <string>

#include "cuda/cuda_backend.h"
#include "src/core/error.h"

namespace seer {

void require_gpu(const char* bench) {
  std::string why;
  if (!cuda_available(&why)) fail("bench {} needs a GPU (bench cpu measures the processor): {}", bench, why);
}

}  // namespace seer
