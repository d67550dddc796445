// Embedding, SwiGLU, copies and fills with bf16 rows.
#include <algorithm>
#include <iterator>

#include "src/core/rng.h"
#include "tests/cuda/bf16_case.h"

namespace seer::test {
namespace {

Bf16Cases embed_cases() {
  Bf16Cases cases;
  for (const Rows layout : kAllRows) {
    for (const auto& [tokens, channels] : {std::pair{37, 64}, {5, 33}, {1, 1}, {300, 1032}}) {
      cases.push_back({fmt::format("embed_{}x{}_{}", tokens, channels, name_of(layout)), [=](Device& device) {
                         constexpr int64_t kVocabulary = 50;
                         std::vector<int32_t> ids;
                         Rng rng(1);
                         for (int i = 0; i < tokens; ++i)
                           ids.push_back(static_cast<int32_t>(rng.below(kVocabulary)));
                         ids.back() = kVocabulary - 1;
                         const Tensor table = device.upload(Shape{kVocabulary, channels},
                                                            bf16_values(2, kVocabulary * channels),
                                                            device.backend().weight_dtype(DType::kBF16));
                         const Activation out(device, Shape{tokens, channels}, layout);
                         device.backend().embed(device.queue(), device.upload_ids(ids), table, out);
                         return outputs_of(out, Rounding::kNone);
                       }});
    }
  }
  return cases;
}

Bf16Cases swiglu_cases() {
  Bf16Cases cases;
  for (const Rows layout : kAllRows) {
    for (const auto& [rows, inner] : {std::pair{37, 96}, {5, 33}, {1, 1}, {300, 1000}, {64, 2816}}) {
      cases.push_back({fmt::format("swiglu_{}x{}_{}", rows, inner, name_of(layout)), [=](Device& device) {
                         const Activation gate_up(device, Shape{rows, 2 * inner}, layout,
                                                  bf16_values(9, 2 * rows * inner, 5.0));
                         const Activation out(device, Shape{rows, inner}, layout);
                         device.backend().swiglu(device.queue(), gate_up, out);
                         return outputs_of(out);
                       }});
    }
  }
  return cases;
}

Bf16Cases memory_cases() {
  Bf16Cases cases;
  for (const Rows from : kAllRows) {
    for (const Rows to : kAllRows) {
      for (const int64_t width : {1, 33, 128}) {
        cases.push_back(
            {fmt::format("copy_{}_wide_{}_to_{}", width, name_of(from), name_of(to)), [=](Device& device) {
               const Shape shape{41, width};
               const Activation x(device, shape, from, bf16_values(15, shape.numel()));
               const Activation out(device, shape, to);
               device.backend().copy(device.queue(), x, out);
               return outputs_of(out, Rounding::kNone);
             }});
      }
    }
    for (const int64_t width : {1, 33, 128}) {
      cases.push_back({fmt::format("fill_zero_{}_wide_{}", width, name_of(from)), [=](Device& device) {
                         const Activation out(device, Shape{41, width}, from);
                         device.backend().fill_zero(device.queue(), out);
                         return outputs_of(out, Rounding::kNone);
                       }});
    }
  }
  return cases;
}

}  // namespace

Bf16Cases bf16_elementwise_cases() {
  Bf16Cases cases;
  for (auto* list : {embed_cases, swiglu_cases, memory_cases})
    std::ranges::move(list(), std::back_inserter(cases));
  return cases;
}

}  // namespace seer::test
