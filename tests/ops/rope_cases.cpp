// rope: forward, transposed, in place.
#include <cmath>

#include "src/core/rng.h"
#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

struct RopeCase {
  std::string name;
  int64_t heads;
  int64_t head_dim;
  std::vector<RowSpan> spans;
  DType dtype = DType::kF32;
  RopeDirection direction = RopeDirection::kForward;
  bool in_place = false;
  bool strided = false;
};

/// Angles at random and a scaling, as fp32 tables [positions, half].
struct Angles {
  Values cos, sin;
  Angles(uint64_t seed, int64_t count, double scaling) {
    Rng rng(seed);
    for (int64_t i = 0; i < count; ++i) {
      const double angle = 100.0 * rng.uniform();
      cos.push_back(static_cast<float>(std::cos(angle) * scaling));
      sin.push_back(static_cast<float>(std::sin(angle) * scaling));
    }
  }
};

constexpr int64_t kPositions = 400;

OpCase rope(const RopeCase& c) {
  int64_t rows = 0;
  for (const RowSpan& span : c.spans) rows = std::max(rows, span.row + span.rows);
  const int64_t half = c.head_dim / 2;
  const Shape shape{rows, c.heads, c.head_dim};
  const Values x = random_values(30, shape.numel());
  const Angles angles(31, kPositions * half, 1.25);
  return {
      fmt::format("rope_{}{}", c.name, suffix_of(c.dtype)),
      [=](Device& device) -> Outputs {
        Table<RowSpan> spans{c.spans, {}};
        device.prepare(spans);
        const Shape table_shape{kPositions, half};
        const RopeTable table{device.upload(table_shape, angles.cos), device.upload(table_shape, angles.sin)};
        const Tensor input =
            c.strided ? device.upload_strided(shape, x, c.dtype) : device.upload(shape, x, c.dtype);
        const Tensor out = c.in_place  ? input
                           : c.strided ? device.output_strided(shape, c.dtype)
                                       : device.output(shape, c.dtype);
        device.backend().rope(device.queue(), input, table, spans, c.direction, out);
        return {{"out", device.download(out)}, {"gaps", {device.gaps_untouched(out) ? 1.0 : 0.0}}};
      },
      [=]() -> Expectations {
        Values out(x.size());
        const double sign = c.direction == RopeDirection::kForward ? 1.0 : -1.0;
        for (const RowSpan& span : c.spans) {
          for (int64_t i = 0; i < span.rows; ++i) {
            for (int64_t h = 0; h < c.heads; ++h) {
              for (int64_t j = 0; j < half; ++j) {
                const size_t a = ((span.row + i) * c.heads + h) * c.head_dim + j;
                const size_t b = a + half;
                const double cosine = angles.cos[(span.position + i) * half + j];
                const double sine = sign * angles.sin[(span.position + i) * half + j];
                out[a] = x[a] * cosine - x[b] * sine;
                out[b] = x[b] * cosine + x[a] * sine;
              }
            }
          }
        }
        return {{"out", {out, tolerance_of(c.dtype)}}, {"gaps", {{1.0}}}};
      }};
}

/// A rotation and then the transposed rotation of the same angles is the identity times scaling^2.
OpCase there_and_back() {
  const std::vector<RowSpan> spans = {{0, 130, 0}, {130, 71, 250}};
  const Shape shape{201, 3, 16};
  const Values x = random_values(32, shape.numel());
  const Angles angles(33, kPositions * 8, 1.5);
  return {"rope_there_and_back",
          [=](Device& device) -> Outputs {
            Table<RowSpan> rows{spans, {}};
            device.prepare(rows);
            const RopeTable table{device.upload(Shape{kPositions, 8}, angles.cos),
                                  device.upload(Shape{kPositions, 8}, angles.sin)};
            const Tensor out = device.upload(shape, x);
            device.backend().rope(device.queue(), out, table, rows, RopeDirection::kForward, out);
            device.backend().rope(device.queue(), out, table, rows, RopeDirection::kTransposed, out);
            return {{"out", device.download(out)}};
          },
          [=]() -> Expectations {
            Values out = x;
            for (double& value : out) value *= 2.25;
            return {{"out", {out, kF32Tolerance}}};
          }};
}

}  // namespace

OpCases rope_cases() {
  OpCases cases = {there_and_back()};
  const std::vector<RowSpan> pack = {{0, 67, 0}, {67, 1, 0}, {68, 130, 3}, {198, 65, 335}};
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const RopeDirection direction : {RopeDirection::kForward, RopeDirection::kTransposed}) {
      const std::string way = direction == RopeDirection::kForward ? "forward" : "transposed";
      cases.push_back(rope({way, 2, 16, pack, dtype, direction}));
      cases.push_back(rope({way + "_in_place", 3, 10, pack, dtype, direction, true}));
      cases.push_back(rope({way + "_strided", 1, 2, pack, dtype, direction, false, true}));
      cases.push_back(rope({way + "_strided_in_place", 2, 80, {{0, 66, 9}}, dtype, direction, true, true}));
    }
  }
  return cases;
}

}  // namespace seer::test
