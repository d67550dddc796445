// Uses the installed library: a backend, an operation, a result.
#include <cstdio>
#include <memory>

#include "src/cpu/cpu_backend.h"

int main() {
  const std::unique_ptr<seer::Backend> backend = seer::make_cpu_backend({.threads = 1});
  const std::unique_ptr<seer::Queue> queue = backend->make_queue("consumer");
  const seer::Buffer buffer = backend->allocate(3 * sizeof(float), seer::Memory::kDevice);
  const seer::Buffer flag = backend->allocate(sizeof(double), seer::Memory::kDevice);
  const seer::Tensor x = buffer.tensor(seer::DType::kF32, seer::Shape{3});
  x.data<float>()[1] = 1.0F / 0.0F;
  backend->flag_not_finite(*queue, x, flag.tensor(seer::DType::kF64, seer::Shape{1}));
  backend->synchronize(*queue);
  std::printf("not finite: %g\n", *static_cast<const double*>(flag.data()));
  return *static_cast<const double*>(flag.data()) == 1.0 ? 0 : 1;
}
