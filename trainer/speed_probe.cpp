#include "trainer/speed_probe.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "src/ops/layout_tables.h"
#include "trainer/plan_backend.h"

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

MachineSpeed probe_speed(Backend& backend, int64_t head_dim) {
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
  constexpr int64_t kTokens = 2048;
  constexpr int64_t kHeads = 4;
  BatchLayout layout = BatchLayout::packed(std::vector<int64_t>{0, kTokens});
  ScoreLayout blocks = ScoreLayout::prefill(layout, 64);
  LayoutTables tables(backend, LayoutTables::bytes_for(1, 1));
  tables.upload(backend, *queue, layout);
  tables.upload(backend, *queue, blocks);
  const Shape heads{kTokens, kHeads, head_dim};
  const Buffer qkvo = backend.allocate(4 * heads.numel() * size_of(act), Memory::kDevice);
  const Buffer maxima = backend.allocate(kHeads * blocks.elements * sizeof(float), Memory::kDevice);
  const auto part = [&](int64_t i) {
    return qkvo.tensor(act, Shape{4, heads.numel()}).slice_rows(i, 1).reshape(heads);
  };
  AttentionArgs args{.q = part(0),
                     .k = part(1),
                     .v = part(2),
                     .layout = &layout,
                     .head_begin = 0,
                     .head_count = kHeads,
                     .scale = 1.0F,
                     .output = part(3),
                     .block_log_max = maxima.tensor(DType::kF32, Shape{kHeads, blocks.elements}),
                     .blocks = &blocks};
  const Buffer attention_scratch = backend.allocate(backend.attention_workspace(args), Memory::kDevice);
  args.workspace =
      attention_scratch.tensor(DType::kU8, Shape{static_cast<int64_t>(attention_scratch.bytes())});
  const double attention = best_seconds(backend, *queue, [&] { backend.attention(*queue, args); });
  return {.flops = 2.0 * kRows * kSize * kSize / product,
          .attention_flops = attention_flops(args) / attention,
          .bandwidth = 1.5 * kRows * kWide * static_cast<double>(size_of(act)) / pass};
}

}  // namespace seer
