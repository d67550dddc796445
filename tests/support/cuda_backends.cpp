#include <ostream>

#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "tests/support/backends.h"

namespace seer::test {
namespace {

/// Without a GPU every test of the binary is skipped, and ctest says so (see seer_device_test).
class NeedsDevice : public testing::Environment {
 public:
  void SetUp() override {
    std::string why;
    if (!cuda_available(&why)) GTEST_SKIP() << "NO DEVICE: " << why;
  }
};

const testing::Environment* const kNeedsDevice = testing::AddGlobalTestEnvironment(new NeedsDevice);

}  // namespace

const std::vector<BackendChoice>& backends() {
  static const std::vector<BackendChoice> choices = {
      {.name = "cuda_fp32",
       .make = [] { return make_cuda_backend({.precision = CudaPrecision::kFp32}); },
       .tolerance_factor = 10.0,
       .computes_f64 = false},
  };
  return choices;
}

std::unique_ptr<Backend> backend_with_own_memory() {
  return make_cuda_backend();
}

void PrintTo(const BackendChoice& choice, std::ostream* out) {
  *out << choice.name;
}

}  // namespace seer::test
