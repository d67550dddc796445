#include "trainer/speed_probe.h"

#include <algorithm>
#include <chrono>

namespace seer {
namespace {

/// The fastest of three runs, after one to warm up.
template <typename Body>
double best_seconds(Backend& backend, Queue& queue, const Body& body) {
  double best = 1e30;
  for (int run = 0; run < 4; ++run) {
    const auto start = std::chrono::steady_clock::now();
    body();
    backend.synchronize(queue);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (run > 0) best = std::min(best, seconds);
  }
  return best;
}

}  // namespace

MachineSpeed probe_speed(Backend& backend) {
  constexpr int64_t kRows = 1024;
  constexpr int64_t kSize = 1024;
  constexpr int64_t kWide = 8192;
  const DType act = backend.activation_dtype();
  const auto queue = backend.make_queue("probe");
  const Buffer x = backend.allocate(kRows * kWide * size_of(act), Memory::kDevice);
  const Buffer w = backend.allocate(kSize * kSize * size_of(act), Memory::kDevice);
  const Buffer out = backend.allocate(kRows * kWide * size_of(act), Memory::kDevice);
  StackedLinear linear;
  linear.parts = 1;
  linear.weight[0] = w.tensor(act, Shape{kSize, kSize});
  const Buffer workspace = backend.allocate(backend.linear_workspace(linear), Memory::kDevice);
  const Tensor scratch = workspace.tensor(DType::kU8, Shape{static_cast<int64_t>(workspace.bytes())});
  const double product = best_seconds(backend, *queue, [&] {
    backend.linear(*queue, x.tensor(act, Shape{kRows, kSize}), linear, LinearOutput::kStore,
                   out.tensor(act, Shape{kRows, kSize}), scratch);
  });
  const double pass = best_seconds(backend, *queue, [&] {
    backend.swiglu(*queue, x.tensor(act, Shape{kRows, kWide}), out.tensor(act, Shape{kRows, kWide / 2}));
  });
  return {2.0 * kRows * kSize * kSize / product,
          1.5 * kRows * kWide * static_cast<double>(size_of(act)) / pass};
}

}  // namespace seer
