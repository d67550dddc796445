// Selection against the published rules: every mask of every file in goldens/selection, to the last block.
#include <gtest/gtest.h>

#include "tests/ops/block_lists.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

/// One mask: its name is `case.method.value.last_block_dense`.
struct GoldenMask {
  std::string name;
  std::string input;  ///< What the method reads: `case.probs` or `case.scores`
  SelectionRule rule;
};

GoldenMask parse(const std::string& name) {
  const size_t method = name.find('.') + 1;
  const size_t value = name.find('.', method) + 1;
  const size_t dense = name.rfind('.');
  const bool threshold = name.substr(method, value - 1 - method) == "threshold";
  SEER_CHECK(threshold || name.substr(method, value - 1 - method) == "nz_ratio", "method of {}", name);
  const std::string last = name.substr(dense + 1);
  SEER_CHECK(last == "last_block_dense=True" || last == "last_block_dense=False", "ending of {}", name);
  return {name,
          name.substr(0, method) + (threshold ? "probs" : "scores"),
          {.by = threshold ? SelectBy::kThreshold : SelectBy::kNzRatio,
           .value = std::stod(name.substr(value, dense - value)),
           .always_diagonal = false,
           .dense_last_rows = last.ends_with("True") ? 2 : 0}};
}

std::vector<GoldenMask> masks_of(const GoldenFile& golden) {
  std::vector<GoldenMask> masks;
  for (const NamedTensor& tensor : golden.file().tensors()) {
    if (tensor.dtype == DType::kU8) masks.push_back(parse(tensor.name));
  }
  return masks;
}

TEST(SelectionGolden, EveryMask) {
  constexpr int64_t kBlock = 16;  // the rules in these files do not depend on it
  Device device(backends().back().make());
  for (const auto& path : golden_cases("selection")) {
    const GoldenFile golden(path);
    const std::vector<GoldenMask> masks = masks_of(golden);
    EXPECT_FALSE(masks.empty()) << path;
    for (const GoldenMask& mask : masks) {
      SCOPED_TRACE(path.string() + ": " + mask.name);
      const int64_t heads = golden.shape(mask.name)[0];
      const int64_t blocks = golden.shape(mask.name)[1];
      ASSERT_EQ(golden.shape(mask.input), golden.shape(mask.name));
      const Pack pack = whole({blocks * kBlock});
      ScoreLayout layout = ScoreLayout::prefill(layout_of(pack), kBlock);
      device.prepare(layout);
      const std::vector<Matrix> matrices = matrices_of(pack, ScoreKind::kPrefill, kBlock);
      const std::vector<float> input = golden.floats(mask.input);
      SelectArgs args{
          .scores = device.upload(Shape{heads, layout.elements}, Values(input.begin(), input.end())),
          .probabilities = mask.rule.by == SelectBy::kThreshold,
          .layout = &layout,
          .head_count = heads,
          .rule = mask.rule,
          .lists = KeptBlocks::output(device, matrices, heads)};
      args.workspace = device.workspace(device.backend().select_workspace(args));
      device.backend().select_blocks(device.queue(), args);
      const KeptBlocks kept = KeptBlocks::download(device, args.lists, matrices, heads);

      const std::vector<uint8_t> expected = golden.bytes(mask.name);
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < blocks; ++i) {
          std::vector<int64_t> row;  // what lies above the diagonal never counts as kept
          for (int64_t j = 0; j <= i; ++j) {
            if (expected[(h * blocks + i) * blocks + j] != 0) row.push_back(j);
          }
          EXPECT_EQ(kept.row(matrices.front(), h, i), row) << "head " << h << " row " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace seer::test
