// pool_blocks with all seven sets of pools, and group_mean.
#include <algorithm>

#include "tests/ops/op_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

std::string name_of(PoolSet pools) {
  return fmt::format("{}{}{}", pools.max ? "max" : "", pools.min ? "min" : "", pools.avg ? "avg" : "");
}

struct PoolCase {
  std::string name;
  PoolSet pools;
  int64_t block;
  std::vector<int64_t> lengths;
  DType dtype = DType::kF32;
  bool strided = false;
  int64_t pieces = 1;
};

OpCase pool(const PoolCase& c) {
  constexpr int64_t kHeads = 3;
  constexpr int64_t kChannels = 10;
  std::vector<RowSpan> spans;
  int64_t tokens = 0;
  int64_t pooled = 0;
  for (const int64_t length : c.lengths) {
    spans.push_back({tokens, length, 0});
    tokens += length;
    pooled += ceil_div(length, c.block) * c.pieces;
  }
  const Shape shape{tokens, kHeads, kChannels};
  const Values x = random_values(40, shape.numel());
  const int64_t width = c.pools.count() * kChannels;
  return {fmt::format("pool_blocks_{}_{}{}", c.name, name_of(c.pools), suffix_of(c.dtype)),
          [=](Device& device) -> Outputs {
            Table<RowSpan> rows{spans, {}};
            device.prepare(rows);
            const Tensor out = device.output(Shape{pooled, kHeads, width}, c.dtype);
            device.backend().pool_blocks(
                device.queue(),
                c.strided ? device.upload_strided(shape, x, c.dtype) : device.upload(shape, x, c.dtype), rows,
                c.block, c.pieces, c.pools, out);
            return {{"out", device.download(out)}};
          },
          [=]() -> Expectations {
            Values out;
            for (const RowSpan& span : spans) {
              const int64_t size = c.block / c.pieces;
              for (int64_t at = 0; at < ceil_div(span.rows, c.block) * c.block; at += size) {
                // Behind the end, the last piece that there is.
                const int64_t first = std::min(at, (span.rows - 1) / size * size);
                const int64_t count = std::min(size, span.rows - first);
                for (int64_t h = 0; h < kHeads; ++h) {
                  Values maximum, minimum, average;
                  for (int64_t channel = 0; channel < kChannels; ++channel) {
                    Values column;
                    double sum = 0;
                    for (int64_t t = 0; t < count; ++t) {
                      column.push_back(x[((span.row + first + t) * kHeads + h) * kChannels + channel]);
                      sum += column.back();
                    }
                    maximum.push_back(*std::ranges::max_element(column));
                    minimum.push_back(*std::ranges::min_element(column));
                    average.push_back(sum / static_cast<double>(count));
                  }
                  if (c.pools.max) out.insert(out.end(), maximum.begin(), maximum.end());
                  if (c.pools.min) out.insert(out.end(), minimum.begin(), minimum.end());
                  if (c.pools.avg) out.insert(out.end(), average.begin(), average.end());
                }
              }
            }
            return {{"out", {out, c.pools.avg ? tolerance_of(c.dtype) : 0.0}}};
          }};
}

OpCase group_mean(int64_t rows, int64_t heads, int64_t groups, DType dtype, bool strided) {
  constexpr int64_t kChannels = 12;
  const Shape shape{rows, heads, kChannels};
  const Values x = random_values(41, shape.numel());
  return {fmt::format("group_mean_{}_{}_{}{}{}", rows, heads, groups, strided ? "_strided" : "",
                      suffix_of(dtype)),
          [=](Device& device) -> Outputs {
            const Tensor out = device.output(Shape{rows, groups, kChannels}, dtype);
            device.backend().group_mean(
                device.queue(),
                strided ? device.upload_strided(shape, x, dtype) : device.upload(shape, x, dtype), out);
            return {{"out", device.download(out)}};
          },
          [=]() -> Expectations {
            Values out(rows * groups * kChannels);
            for (int64_t r = 0; r < rows; ++r) {
              for (int64_t h = 0; h < heads; ++h) {
                for (int64_t c = 0; c < kChannels; ++c) {
                  out[(r * groups + h * groups / heads) * kChannels + c] +=
                      x[(r * heads + h) * kChannels + c] * static_cast<double>(groups) /
                      static_cast<double>(heads);
                }
              }
            }
            return {{"out", {out, tolerance_of(dtype)}}};
          }};
}

}  // namespace

OpCases pool_cases() {
  OpCases cases;
  for (int bits = 1; bits < 8; ++bits) {
    const PoolSet pools{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
    cases.push_back(pool({"pack", pools, 16, {16, 33, 47, 1, 130}, DType::kF32, true}));
    cases.push_back(pool({"long", pools, 64, {300}, DType::kF64}));
  }
  cases.push_back(pool({"shorter_than_a_block", {true, true, true}, 128, {7}, DType::kF32}));
  cases.push_back(pool({"pieces", {true, true, true}, 32, {64, 33, 7, 130}, DType::kF32, true, 4}));
  cases.push_back(pool({"pieces_f64", {false, false, true}, 16, {31, 200}, DType::kF64, false, 2}));
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    cases.push_back(group_mean(131, 8, 2, dtype, true));
    cases.push_back(group_mean(64, 3, 3, dtype, false));
    cases.push_back(group_mean(1, 7, 1, dtype, false));
  }
  return cases;
}

}  // namespace seer::test
