// The frozen model against transformers: every folder of goldens/hf, hidden states, pre-RoPE q and k, logits,
// inv_freq.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/arena.h"
#include "src/io/atomic_file.h"
#include "src/model/frozen_layer.h"
#include "src/model/rope.h"
#include "tests/support/backends.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
const double kTolerance = 1e-5 * backends().back().tolerance_factor;

/// Runs one batch row of a golden through the model and compares everything its file holds.
class HfRun {
 public:
  HfRun(const fs::path& folder, const ModelConfig& config,
        std::unique_ptr<Backend> backend = backends().back().make())
      : backend_(std::move(backend)),
        queue_(backend_->make_queue("test")),
        config_(config),
        weights_(*backend_, *queue_, config_, folder),
        arena_(backend_->allocate(size_t{256} << 20, Memory::kDevice)),
        context_{*backend_, *queue_, arena_} {
    context_.mlp_rows = 64;  // several chunks, the last one partial
  }

  void compare(const GoldenFile& golden) {
    const int64_t batch = golden.shape("input_ids")[0];
    const int64_t tokens = golden.shape("input_ids")[1];
    const std::vector<int64_t> ids = golden.integers("input_ids");
    for (int64_t b = 0; b < batch; ++b) {
      compare_row(golden, std::vector<int32_t>(ids.begin() + b * tokens, ids.begin() + (b + 1) * tokens), b);
    }
  }

 private:
  static std::vector<float> row(const GoldenFile& golden, const std::string& name, int64_t b) {
    const std::vector<float> all = golden.floats(name);
    const size_t size = all.size() / golden.shape(name)[0];
    return {all.begin() + b * size, all.begin() + (b + 1) * size};
  }

  /// A strided view, packed.
  std::vector<float> dense(ConstTensor x) {
    const Buffer buffer = backend_->allocate(x.numel() * sizeof(float), Memory::kDevice);
    backend_->copy(*queue_, x, buffer.tensor(x.dtype(), x.shape()));
    return download(*backend_, *queue_, buffer.tensor(x.dtype(), x.shape()));
  }

  void compare_row(const GoldenFile& golden, const std::vector<int32_t>& ids, int64_t b) {
    const auto tokens = static_cast<int64_t>(ids.size());
    BatchLayout layout = BatchLayout::packed(std::vector<int64_t>{0, tokens});
    const LayoutTables tables = upload_tables(*backend_, *queue_, layout);
    const RopeTables rope(*backend_, *queue_, rope_frequencies(config_.rope, config_.head_dim), tokens);
    const DeviceTensor device_ids(*backend_, *queue_, Shape{tokens}, ids);
    const DeviceTensor x(*backend_, Shape{tokens, config_.hidden_size}, DType::kF32);
    backend_->embed(*queue_, device_ids, weights_.embedding(), x);
    for (int64_t i = 0; i < config_.num_layers; ++i) {
      arena_.reset();
      const LayerWeights& layer = weights_.layer(i);
      const Qkv qkv = project_qkv(context_, config_, layer, x, /*need_output=*/true);
      EXPECT_LE(relative_error(dense(qkv.q_pre), row(golden, fmt::format("q_prerope.{}", i), b)), kTolerance);
      EXPECT_LE(relative_error(dense(qkv.k_pre), row(golden, fmt::format("k_prerope.{}", i), b)), kTolerance);
      const Tensor q = arena_.tensor(DType::kF32, qkv.q_pre.shape());
      const Tensor k = arena_.tensor(DType::kF32, qkv.k_pre.shape());
      const Tensor o = arena_.tensor(DType::kF32, qkv.q_pre.shape());
      backend_->rope(*queue_, qkv.q_pre, rope.table(), layout.rows, RopeDirection::kForward, q);
      backend_->rope(*queue_, qkv.k_pre, rope.table(), layout.rows, RopeDirection::kForward, k);
      AttentionArgs attention{.q = q,
                              .k = k,
                              .v = qkv.v,
                              .layout = &layout,
                              .head_begin = 0,
                              .head_count = config_.num_heads,
                              .scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim)),
                              .output = o};
      attention.workspace = arena_.bytes(backend_->attention_workspace(attention));
      backend_->attention(*queue_, attention);
      finish_layer(context_, config_, layer, o.reshape(Shape{tokens, config_.num_heads * config_.head_dim}),
                   x);
      EXPECT_LE(relative_error(dense(x), row(golden, fmt::format("hidden.{}", i), b)), kTolerance)
          << "layer " << i;
    }
    arena_.reset();
    const Tensor logits = arena_.tensor(DType::kF32, Shape{tokens, config_.vocab_size});
    lm_head(context_, config_, weights_, x, logits);
    EXPECT_LE(relative_error(dense(logits), row(golden, "logits", b)), kTolerance);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  ModelConfig config_;
  FrozenWeights weights_;
  Arena arena_;
  LayerContext context_;
};

TEST(HfGolden, HiddenStatesQueriesKeysAndLogits) {
  for (const fs::path& folder : golden_cases("hf")) {
    SCOPED_TRACE(folder.string());
    const GoldenFile golden(folder / "expected.safetensors");
    const ModelConfig config = load_model_config(folder);
    HfRun(folder, config).compare(golden);
  }
}

TEST(HfGolden, RopeFrequenciesAndScaling) {
  for (const fs::path& folder : golden_cases("hf")) {
    SCOPED_TRACE(folder.string());
    const GoldenFile golden(folder / "expected.safetensors");
    const ModelConfig config = load_model_config(folder);
    const RopeFrequencies rope = rope_frequencies(config.rope, config.head_dim);
    EXPECT_LE(relative_error(rope.inv_freq, golden.floats("inv_freq")), 1e-6);
    EXPECT_NEAR(rope.attention_scaling, golden.floats("attention_scaling")[0], 1e-6);
  }
}

TEST(HfGolden, BothDialectsOfConfigJsonAgree) {
  int seen = 0;
  for (const fs::path& folder : golden_cases("hf")) {
    const fs::path other = folder / "config.transformers-v5.json";
    if (!fs::exists(other)) continue;
    ++seen;
    const ModelConfig a = load_model_config(folder);
    const ModelConfig b = parse_model_config(read_text_file(other), other.string());
    EXPECT_EQ(a.head_dim, b.head_dim);
    EXPECT_EQ(a.hidden_size, b.hidden_size);
    EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
    EXPECT_EQ(rope_frequencies(a.rope, a.head_dim).inv_freq, rope_frequencies(b.rope, b.head_dim).inv_freq);
    HfRun(folder, b).compare(GoldenFile(folder / "expected.safetensors"));
  }
  EXPECT_GT(seen, 0) << "no golden holds a config.transformers-v5.json";
}

}  // namespace
}  // namespace seer::test
