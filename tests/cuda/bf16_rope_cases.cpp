// RoPE of bf16 heads, either way, also in place.
#include <cmath>

#include "src/core/rng.h"
#include "tests/cuda/bf16_case.h"

namespace seer::test {
namespace {

Outputs run_rope(Device& device, int64_t heads, int64_t head_dim, RopeDirection direction, bool in_place,
                 Rows layout) {
  constexpr int64_t kPositions = 400;
  const int64_t half = head_dim / 2;
  Values cosines;
  Values sines;
  Rng rng(10);
  for (int64_t i = 0; i < kPositions * half; ++i) {
    const double angle = 100.0 * rng.uniform();
    cosines.push_back(static_cast<float>(1.25 * std::cos(angle)));
    sines.push_back(static_cast<float>(1.25 * std::sin(angle)));
  }
  Table<RowSpan> spans{{{0, 67, 0}, {67, 1, 0}, {68, 130, 3}, {198, 65, 335}}, {}};
  device.prepare(spans);
  const Shape shape{263, heads, head_dim};
  const RopeTable table{device.upload(Shape{kPositions, half}, cosines),
                        device.upload(Shape{kPositions, half}, sines)};
  const Activation x(device, shape, layout, bf16_values(11, shape.numel()));
  const Activation out = in_place ? x : Activation(device, shape, layout);
  device.backend().rope(device.queue(), x, table, spans, direction, out);
  return outputs_of(out);
}

}  // namespace

Bf16Cases bf16_rope_cases() {
  Bf16Cases cases;
  for (const auto& [heads, head_dim] :
       {std::pair{2, 16}, {1, 2}, {3, 10}, {4, 64}, {2, 80}, {2, 96}, {3, 128}, {1, 256}}) {
    for (const RopeDirection direction : {RopeDirection::kForward, RopeDirection::kTransposed}) {
      for (const bool in_place : {false, true}) {
        for (const Rows layout : kAllRows) {
          cases.push_back({fmt::format("rope_{}x{}_{}{}_{}", heads, head_dim,
                                       direction == RopeDirection::kForward ? "forward" : "transposed",
                                       in_place ? "_in_place" : "", name_of(layout)),
                           [=](Device& device) {
                             return run_rope(device, heads, head_dim, direction, in_place, layout);
                           }});
        }
      }
    }
  }
  return cases;
}

}  // namespace seer::test
