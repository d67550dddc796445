// The attention of a text's tokens in the layers of a tiny model, and over what its gates keep.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/backends.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/eval/eval_files.h"
#include "trainer/eval/gate_attention.h"

namespace seer::test {

inline SelectionRule nz_ratio(double value) {
  return {.by = SelectBy::kNzRatio, .value = value};
}

/// The tiny model of three layers and gates with random weights.
class GateAttentionOfAText : public testing::Test {
 protected:
  static constexpr int64_t kTokens = 203;
  static constexpr int64_t kBlock = 16;

  GateAttentionOfAText() {
    write_tiny_model(folder_ / "model", {.layers = 3});
    write_random_gates(folder_ / "gates", folder_ / "model", kBlock);
    model_.emplace(backends().back().make(), on_one_thread(folder_ / "model", folder_ / "gates"), kTokens);
  }

  using Visitor = std::function<void(LayerContext&, const GateAttention&)>;
  void run(std::vector<SelectionRule> rules, std::vector<int64_t> layers, Visitor visitor) {
    GateAttentionPass pass(*model_, {.max_tokens = kTokens,
                                     .rules = std::move(rules),
                                     .layers = std::move(layers),
                                     .visitor = std::move(visitor)});
    pass.run(ids_);
  }

  static std::vector<float> read(LayerContext& context, ConstTensor x) {
    std::vector<std::byte> stored(x.numel() * size_of(x.dtype()));
    context.backend.copy(context.queue, x, Tensor(stored.data(), x.dtype(), x.shape()));
    context.backend.synchronize(context.queue);
    std::vector<float> values(x.numel());
    convert_to_f32(stored.data(), x.dtype(), x.numel(), values.data());
    return values;
  }

  TempDir folder_;
  std::optional<EvalModel> model_;
  const std::vector<int32_t> ids_ = random_ids(3, kTokens, 256);
};

}  // namespace seer::test
