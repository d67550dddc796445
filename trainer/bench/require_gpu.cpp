#include "trainer/bench/require_gpu.h"

#include <string>

#include "cuda/cuda_backend.h"
#include "src/core/error.h"

namespace seer {

void require_gpu(const char* bench) {
  std::string why;
  if (!cuda_available(&why))
    fail("bench {} measures a GPU, bench cpu this machine's processor: {}", bench, why);
}

}  // namespace seer
