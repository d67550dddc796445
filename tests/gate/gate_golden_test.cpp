// The gates against the published modules: scores, probabilities, losses and gradients of every file in
// goldens/gate-prefill and goldens/gate-decode.
#include <cmath>

#include <gtest/gtest.h>

#include "src/core/arena.h"
#include "src/gate/decode_gate.h"
#include "src/gate/prefill_gate.h"
#include "src/model/rope.h"
#include "tests/support/backends.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
const double kTolerance = 1e-5 * backends().back().tolerance_factor;

/// Scores where j <= i (above the diagonal the file holds -FLT_MAX), and their softmax. Our matrices lie
/// [batch][head], as the file's.
void compare_scores(const GoldenFile& golden, const std::vector<float>& scores, int64_t matrices,
                    int64_t blocks) {
  const std::vector<float> expected = golden.floats("scores");
  const std::vector<float> expected_probs = golden.floats("probs");
  std::vector<float> ours;
  std::vector<float> theirs;
  std::vector<float> probs(expected_probs.size(), 0.0F);
  ASSERT_EQ(scores.size(), expected.size());
  for (int64_t row = 0; row < matrices * blocks; ++row) {
    const int64_t seen = row % blocks + 1;
    double sum = 0;
    for (int64_t j = 0; j < seen; ++j) {
      ours.push_back(scores[row * blocks + j]);
      theirs.push_back(expected[row * blocks + j]);
      sum += std::exp(static_cast<double>(ours.back()));
    }
    for (int64_t j = 0; j < seen; ++j) {
      probs[row * blocks + j] =
          static_cast<float>(std::exp(static_cast<double>(scores[row * blocks + j])) / sum);
    }
  }
  EXPECT_LE(relative_error(ours, theirs), kTolerance);
  EXPECT_LE(relative_error(probs, expected_probs), kTolerance);
}

class GateGolden : public ::testing::Test {
 protected:
  DeviceTensor load(const GoldenFile& golden, const std::string& name, const Shape& shape) {
    return {*backend_, *queue_, shape, golden.floats(name)};
  }
  DeviceTensor zeros(const Shape& shape, DType dtype = DType::kF32) {
    DeviceTensor out(*backend_, shape, dtype);
    backend_->fill_zero(*queue_, out);
    return out;
  }
  double sum(const DeviceTensor& slots) {
    double total = 0;
    for (const double value : download_f64(*backend_, *queue_, slots)) total += value;
    return total;
  }
  RopeTables tables(double theta, int64_t dim, int64_t count, int64_t stride) {
    RopeConfig rope;
    rope.theta = theta;
    return {*backend_, *queue_, rope_frequencies(rope, dim), count, stride};
  }

  std::unique_ptr<Backend> backend_ = backends().back().make();
  std::unique_ptr<Queue> queue_ = backend_->make_queue("test");
  Arena arena_{backend_->allocate(size_t{128} << 20, Memory::kDevice)};
  LayerContext context_{*backend_, *queue_, arena_};
};

TEST_F(GateGolden, Prefill) {
  for (const fs::path& path : golden_cases("gate-prefill")) {
    SCOPED_TRACE(path.string());
    arena_.reset();
    const GoldenFile golden(path);
    const int64_t batch = golden.shape("q")[0];
    const int64_t tokens = golden.shape("q")[1];
    PrefillGateConfig config{.type = parse_gate_type(golden.text("gate_type")),
                             .block_size = golden.integer("block_size"),
                             .hidden_size = golden.integer("gate_hidden_size"),
                             .force_double = golden.boolean("force_double"),
                             .num_heads = golden.integer("num_q_heads"),
                             .num_kv_heads = golden.integer("num_kv_heads"),
                             .head_dim = golden.integer("head_dim")};
    std::vector<int64_t> cu_seqlens{0};
    for (int64_t b = 0; b < batch; ++b) cu_seqlens.push_back((b + 1) * tokens);
    BatchLayout layout = BatchLayout::packed(cu_seqlens);
    ScoreLayout scores_layout = ScoreLayout::prefill(layout, config.block_size);
    const LayoutTables layout_tables = upload_tables(*backend_, *queue_, layout, scores_layout);
    const int64_t blocks = scores_layout.max_blocks;

    const DeviceTensor q = load(golden, "q", Shape{batch * tokens, config.num_heads, config.head_dim});
    const DeviceTensor k = load(golden, "k", Shape{batch * tokens, config.num_kv_heads, config.head_dim});
    const DeviceTensor key_weight = load(golden, "weight.mask_linear_k.weight", config.key_weight());
    const DeviceTensor key_gradient = zeros(config.key_weight());
    const DeviceTensor query_weight = config.has_query_linear()
                                          ? load(golden, "weight.mask_linear_q.weight", config.query_weight())
                                          : zeros(Shape{1});
    const DeviceTensor query_gradient = zeros(config.has_query_linear() ? config.query_weight() : Shape{1});
    const RopeTables rope =
        tables(golden.number("rope_theta"), config.hidden_size, blocks, config.block_size);

    PrefillActivations gate =
        prefill_gate_forward(context_, config, {query_weight, key_weight}, {q, k, &layout}, scores_layout,
                             rope.table(), /*want_gradient=*/true);
    const DeviceTensor scores = zeros(Shape{config.num_heads, scores_layout.elements});
    const ScoreArgs args = prefill_score_args(config, gate, scores_layout, 0, config.num_heads);
    backend_->gate_scores(*queue_, args, scores);
    compare_scores(golden, download(*backend_, *queue_, scores), batch * config.num_heads, blocks);

    const DeviceTensor target = load(golden, "ground_truth", Shape{config.num_heads, scores_layout.elements});
    const DeviceTensor losses = zeros(Shape{config.num_heads}, DType::kF64);
    KlArgs kl{.scores = scores,
              .target = target,
              .layout = &scores_layout,
              .heads = config.num_heads,
              .head_count = config.num_heads,
              .losses = losses};
    kl.workspace = arena_.bytes(backend_->kl_workspace(kl));
    backend_->kl_loss(*queue_, kl);
    const double loss = golden.floats("loss")[0];
    EXPECT_NEAR(sum(losses), loss, kTolerance * std::abs(loss));

    backend_->gate_scores_backward(*queue_, args, scores, {gate.query_gradient, gate.key_gradient});
    prefill_gate_backward(context_, config, gate, scores_layout, rope.table(),
                          {query_gradient, key_gradient});
    EXPECT_LE(relative_error(download(*backend_, *queue_, key_gradient),
                             golden.floats("grad.mask_linear_k.weight")),
              kTolerance);
    if (config.has_query_linear()) {
      EXPECT_LE(relative_error(download(*backend_, *queue_, query_gradient),
                               golden.floats("grad.mask_linear_q.weight")),
                kTolerance);
    }
  }
}

TEST_F(GateGolden, Decode) {
  for (const fs::path& path : golden_cases("gate-decode")) {
    SCOPED_TRACE(path.string());
    arena_.reset();
    const GoldenFile golden(path);
    DecodeGateConfig config{.head_pooling = parse_head_pooling(golden.text("q_head_pooling")),
                            .k_pools = parse_gate_type("Qavg_K" + golden.text("k_pooling")).k,
                            .block_size = golden.integer("block_size"),
                            .hidden_size = golden.integer("gate_hidden_size"),
                            .use_qk_norm = golden.boolean("use_qk_norm"),
                            .use_rope = golden.boolean("use_rope"),
                            .num_heads = golden.integer("num_q_heads"),
                            .num_kv_heads = golden.integer("num_kv_heads"),
                            .head_dim = golden.integer("head_dim")};
    std::vector<int64_t> cu_seqlens{0};
    int64_t longest = 0;
    for (const int64_t length : golden.integers("seqlens")) {
      cu_seqlens.push_back(cu_seqlens.back() + length);
      longest = std::max(longest, length);
    }
    const int64_t tokens = cu_seqlens.back();
    BatchLayout layout = BatchLayout::packed(cu_seqlens);
    ScoreLayout scores_layout =
        ScoreLayout::decode(layout, config.block_size, golden.number("loss_slice_ratio"));
    const LayoutTables layout_tables = upload_tables(*backend_, *queue_, layout, scores_layout);
    const int64_t groups = config.num_kv_heads;
    const int64_t merged =
        config.head_pooling == HeadPooling::kProj ? config.group() * config.head_dim : config.head_dim;

    const DeviceTensor q = load(golden, "q_prerope", Shape{tokens, config.num_heads, config.head_dim});
    const DeviceTensor k = load(golden, "k_prerope", Shape{tokens, groups, config.head_dim});
    const Shape query_shape{groups, merged, config.hidden_size};
    const Shape key_shape{groups, config.k_pools.count() * config.head_dim, config.hidden_size};
    const Shape norm_shape{config.hidden_size};
    const auto weight = [&](const char* name, const Shape& shape) {
      return golden.find(fmt::format("weight.{}", name)) != nullptr
                 ? load(golden, fmt::format("weight.{}", name), shape)
                 : zeros(shape);
    };
    const DeviceTensor wq = weight("attngate_linear_q.weight", query_shape);
    const DeviceTensor wk = weight("attngate_linear_k.weight", key_shape);
    const DeviceTensor nq = weight("attngate_qnorm.weight", norm_shape);
    const DeviceTensor nk = weight("attngate_knorm.weight", norm_shape);
    const DeviceTensor dwq = zeros(query_shape);
    const DeviceTensor dwk = zeros(key_shape);
    const DeviceTensor dnq = zeros(norm_shape);
    const DeviceTensor dnk = zeros(norm_shape);
    const double theta = golden.number("rope_theta");
    const RopeTables token_rope = tables(theta, config.hidden_size, longest, 1);
    const RopeTables block_rope =
        tables(theta, config.hidden_size, scores_layout.max_blocks, config.block_size);

    DecodeActivations gate = decode_gate_forward(context_, config, {wq, wk, nq, nk}, {q, k, &layout},
                                                 scores_layout, token_rope.table(), block_rope.table());
    const DeviceTensor scores = zeros(Shape{groups, scores_layout.elements});
    const ScoreArgs args = decode_score_args(config, gate, scores_layout);
    backend_->gate_scores(*queue_, args, scores);
    const std::vector<float> got = download(*backend_, *queue_, scores);
    std::vector<float> target(groups * scores_layout.elements);
    std::vector<float> ours;
    std::vector<float> theirs;
    for (const ScoreSegment& s : scores_layout.segments.host) {
      const std::vector<float> expected = golden.floats(fmt::format("scores.{}", s.sequence));
      const std::vector<float> truth = golden.floats(fmt::format("ground_truth.{}", s.sequence));
      const int64_t padded = golden.shape(fmt::format("scores.{}", s.sequence))[2];
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t t = 0; t < s.queries.rows; ++t) {
          for (int64_t j = 0; j < s.blocks; ++j) {
            const int64_t here = s.matrix * groups + (g * s.queries.rows + t) * s.blocks + j;
            const int64_t there = (g * s.queries.rows + t) * padded + j;
            target[here] = truth[there];
            if (j >= scores_layout.visible(t)) continue;
            ours.push_back(got[here]);
            theirs.push_back(expected[there]);
          }
        }
      }
    }
    EXPECT_LE(relative_error(ours, theirs), kTolerance);

    const DeviceTensor truth(*backend_, *queue_, Shape{groups, scores_layout.elements}, target);
    const DeviceTensor losses = zeros(Shape{groups}, DType::kF64);
    KlArgs kl{.scores = scores,
              .target = truth,
              .layout = &scores_layout,
              .heads = groups,
              .head_count = groups,
              .losses = losses};
    kl.workspace = arena_.bytes(backend_->kl_workspace(kl));
    backend_->kl_loss(*queue_, kl);
    const double loss = golden.floats("loss")[0];
    EXPECT_NEAR(sum(losses), loss, kTolerance * std::abs(loss));

    backend_->gate_scores_backward(*queue_, args, scores, {gate.query_gradient, gate.key_gradient});
    decode_gate_backward(context_, config, {wq, wk, nq, nk}, gate, scores_layout, token_rope.table(),
                         block_rope.table(), {dwq, dwk, dnq, dnk});
    const auto compare = [&](const char* name, const DeviceTensor& gradient) {
      if (golden.find(fmt::format("grad.{}", name)) == nullptr) return;
      EXPECT_LE(
          relative_error(download(*backend_, *queue_, gradient), golden.floats(fmt::format("grad.{}", name))),
          kTolerance)
          << name;
    };
    compare("attngate_linear_q.weight", dwq);
    compare("attngate_linear_k.weight", dwk);
    compare("attngate_qnorm.weight", dnq);
    compare("attngate_knorm.weight", dnk);
  }
}

}  // namespace
}  // namespace seer::test
