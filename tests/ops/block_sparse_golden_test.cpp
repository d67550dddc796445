// Attention over kept blocks against fp64 PyTorch: every file in goldens/block-sparse.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/ops/block_lists.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

/// [heads, tokens, D] -> [tokens, heads, D].
Values tokens_first(const std::vector<float>& x, int64_t heads, int64_t tokens, int64_t head_dim) {
  Values out(x.size());
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t t = 0; t < tokens; ++t) {
      std::copy_n(x.begin() + (h * tokens + t) * head_dim, head_dim,
                  out.begin() + (t * heads + h) * head_dim);
    }
  }
  return out;
}

KeptBlocks kept_of(const GoldenFile& golden, const std::vector<Matrix>& matrices) {
  const std::vector<uint8_t> mask = golden.bytes("block_mask");
  const Matrix& m = matrices.front();
  KeptBlocks kept(matrices, golden.shape("block_mask")[0]);
  for (int64_t h = 0; h < kept.heads(); ++h) {
    for (int64_t i = 0; i < m.blocks; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        if (mask[(h * m.blocks + i) * m.blocks + j] != 0) kept.row(m, h, i).push_back(j);
      }
    }
  }
  return kept;
}

TEST(BlockSparseGolden, Output) {
  const BackendChoice& choice = backends().back();
  const double tolerance = 1e-5 * choice.tolerance_factor;
  Device device(choice.make());
  for (const auto& path : golden_cases("block-sparse")) {
    SCOPED_TRACE(path.string());
    const GoldenFile golden(path);
    const int64_t heads = golden.shape("q")[0];
    const int64_t tokens = golden.shape("q")[1];
    const int64_t head_dim = golden.shape("q")[2];
    const int64_t block = golden.integer("block_size");
    const Pack pack = whole({tokens});
    BatchLayout layout = layout_of(pack);
    ScoreLayout blocks = ScoreLayout::prefill(layout, block);
    device.prepare(layout);
    device.prepare(blocks);
    const std::vector<Matrix> matrices = matrices_of(pack, ScoreKind::kPrefill, block);
    ASSERT_EQ(golden.shape("block_mask"),
              (std::vector<int64_t>{heads, matrices[0].blocks, matrices[0].blocks}));
    const auto load = [&](const char* name) {
      const int64_t count = golden.shape(name)[0];
      return device.upload(Shape{tokens, count, head_dim},
                           tokens_first(golden.floats(name), count, tokens, head_dim));
    };
    SparseAttentionArgs args{.q = load("q"),
                             .k = load("k"),
                             .v = load("v"),
                             .layout = &layout,
                             .blocks = &blocks,
                             .lists = kept_of(golden, matrices).upload(device),
                             .head_count = heads,
                             .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
                             .output = device.output(Shape{tokens, heads, head_dim})};
    args.workspace = device.workspace(device.backend().sparse_attention_workspace(args));
    device.backend().sparse_attention(device.queue(), args);
    EXPECT_LE(relative_error(device.download(args.output),
                             tokens_first(golden.floats("out"), heads, tokens, head_dim)),
              tolerance);
  }
}

}  // namespace
}  // namespace seer::test
