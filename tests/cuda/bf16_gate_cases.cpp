// Where a gate reads bf16: pooling, and the head linear of a decode gate.
#include <algorithm>
#include <iterator>

#include "src/core/ceil_div.h"
#include "tests/cuda/bf16_case.h"

namespace seer::test {
namespace {

Bf16Cases pool_cases() {
  Bf16Cases cases;
  for (const auto& [heads, head_dim] : {std::pair{2, 16}, {3, 10}, {4, 64}, {2, 128}}) {
    for (const int64_t block : {16, 64}) {
      for (const PoolSet pools :
           {PoolSet{true, true, true}, PoolSet{true, true, false}, PoolSet{.avg = true}}) {
        for (const Rows layout : kAllRows) {
          cases.push_back(
              {fmt::format("pool_{}x{}_block_{}_{}{}_{}", heads, head_dim, block, pools.max ? "max_min" : "",
                           pools.avg ? "_avg" : "", name_of(layout)),
               [=](Device& device) -> Outputs {
                 Table<RowSpan> spans{{{0, 300, 0}, {300, 17, 0}, {317, 64, 0}, {381, 1, 0}}, {}};
                 device.prepare(spans);
                 int64_t pooled = 0;
                 for (const RowSpan& span : spans.host) pooled += ceil_div(span.rows, block);
                 const Activation x(device, Shape{382, heads, head_dim}, layout,
                                    bf16_values(12, 382 * heads * head_dim));
                 const Tensor out = device.output(Shape{pooled, heads, pools.count() * head_dim});
                 device.backend().pool_blocks(device.queue(), x, spans, block, 1, pools, out);
                 return {{"out", {device.download(out), pools.avg ? Rounding::kFp32 : Rounding::kNone}}};
               }});
        }
      }
    }
  }
  return cases;
}

Bf16Cases head_linear_cases() {
  struct HeadLinear {
    int64_t rows, x_heads, w_heads, in, out;
  };
  Bf16Cases cases;
  for (const HeadLinear c : {HeadLinear{70, 4, 4, 128, 128},
                             {33, 2, 8, 64, 32},
                             {1, 1, 1, 1, 1},
                             {129, 3, 3, 33, 17},
                             {65, 2, 6, 48, 20},
                             {17, 2, 2, 256, 64}}) {
    for (const Rows layout : kAllRows) {
      cases.push_back({fmt::format("head_linear_{}_rows_{}_to_{}_heads_{}x{}_{}", c.rows, c.x_heads,
                                   c.w_heads, c.in, c.out, name_of(layout)),
                       [=](Device& device) -> Outputs {
                         const Activation x(device, Shape{c.rows, c.x_heads, c.in}, layout,
                                            bf16_values(13, c.rows * c.x_heads * c.in));
                         const Shape w{c.w_heads, c.in, c.out};
                         const Tensor out = device.output(Shape{c.rows, c.w_heads, c.out});
                         device.backend().head_linear(device.queue(), x,
                                                      device.upload(w, random_values(14, w.numel())), out);
                         return {{"out", {device.download(out), Rounding::kFp32}}};
                       }});
    }
  }
  return cases;
}

}  // namespace

Bf16Cases bf16_gate_cases() {
  Bf16Cases cases;
  for (auto* list : {pool_cases, head_linear_cases}) std::ranges::move(list(), std::back_inserter(cases));
  return cases;
}

}  // namespace seer::test
