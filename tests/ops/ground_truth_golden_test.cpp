// Attention with pooled ground truth against fp64 PyTorch: every file in goldens/ground-truth.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/support/backends.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

/// [heads, tokens, D] -> [tokens, heads, D].
std::vector<float> tokens_first(const std::vector<float>& x, int64_t heads, int64_t tokens,
                                int64_t head_dim) {
  std::vector<float> out(x.size());
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t t = 0; t < tokens; ++t) {
      std::copy_n(x.begin() + (h * tokens + t) * head_dim, head_dim,
                  out.begin() + (t * heads + h) * head_dim);
    }
  }
  return out;
}

TEST(GroundTruthGolden, OutputLogsumexpAndPooledMaxima) {
  const BackendChoice& choice = backends().back();
  const double tolerance = 1e-5 * choice.tolerance_factor;
  const auto backend = choice.make();
  const auto queue = backend->make_queue("test");
  for (const auto& path : golden_cases("ground-truth")) {
    SCOPED_TRACE(path.string());
    const GoldenFile golden(path);
    const int64_t heads = golden.shape("q")[0];
    const int64_t kv_heads = golden.shape("k")[0];
    const int64_t tokens = golden.shape("q")[1];
    const int64_t head_dim = golden.shape("q")[2];
    const auto load = [&](const char* name, int64_t count) {
      return DeviceTensor(*backend, *queue, Shape{tokens, count, head_dim},
                          tokens_first(golden.floats(name), count, tokens, head_dim));
    };
    const DeviceTensor q = load("q", heads);
    const DeviceTensor k = load("k", kv_heads);
    const DeviceTensor v = load("v", kv_heads);
    BatchLayout layout = BatchLayout::packed(std::vector<int64_t>{0, tokens});
    ScoreLayout blocks = ScoreLayout::prefill(layout, golden.integer("block_size"));
    const LayoutTables tables = upload_tables(*backend, *queue, layout, blocks);
    const DeviceTensor out(*backend, Shape{tokens, heads, head_dim}, DType::kF32);
    const DeviceTensor lse(*backend, Shape{heads, tokens}, DType::kF32);
    const DeviceTensor maxima(*backend, Shape{heads, blocks.elements}, DType::kF32);
    const DeviceTensor target(*backend, Shape{heads, blocks.elements}, DType::kF32);
    AttentionArgs args{.q = q,
                       .k = k,
                       .v = v,
                       .layout = &layout,
                       .head_begin = 0,
                       .head_count = heads,
                       .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
                       .output = out,
                       .logsumexp = lse,
                       .block_log_max = maxima,
                       .blocks = &blocks};
    const Buffer workspace = backend->allocate(backend->attention_workspace(args), Memory::kDevice);
    args.workspace = workspace.tensor(DType::kU8, Shape{static_cast<int64_t>(workspace.bytes())});
    backend->attention(*queue, args);
    backend->normalise_target(*queue, maxima, blocks, blocks, heads, target);

    EXPECT_LE(relative_error(download(*backend, *queue, out),
                             tokens_first(golden.floats("out"), heads, tokens, head_dim)),
              tolerance);
    EXPECT_LE(relative_error(download(*backend, *queue, lse), golden.floats("lse")), 0.1 * tolerance);
    std::vector<float> pooled = download(*backend, *queue, maxima);
    for (float& value : pooled) value = std::exp(value);
    EXPECT_LE(relative_error(pooled, golden.floats("pool2d")), tolerance);
    EXPECT_LE(relative_error(download(*backend, *queue, target), golden.floats("pool2d_normalised")),
              tolerance);
  }
}

}  // namespace
}  // namespace seer::test
