// The backends that tests of operations and of the sweep run on. Which ones depends on the library that is linked:
// seer_cpu_backends or seer_cuda_backends.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/ops/backend.h"

namespace seer::test {

struct BackendChoice {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
  double tolerance_factor = 1.0;  ///< Of every tolerance that is not exactness
  bool computes_f64 = true;       ///< Gate operations on F64 tensors
};

/// At least one. On the CPU, results must not depend on the number of threads, so it is there with one worker and
/// with more workers than most cases have tiles for.
const std::vector<BackendChoice>& backends();

/// A backend that must be given copies of weights and has the memories a training can choose from.
std::unique_ptr<Backend> backend_with_own_memory();

/// Names for parametrised tests: "cpu_1_thread".
void PrintTo(const BackendChoice& choice, std::ostream* out);  // NOLINT(readability-identifier-naming)

}  // namespace seer::test
