// Layers side by side attend as each of them does alone.
#include "trainer/eval/side_by_side.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/eval/gate_attention_fixture.h"

namespace seer::test {
namespace {

using ::testing::HasSubstr;

/// Heads [begin, begin + count) of x [rows, heads, D].
std::vector<float> heads_of(const std::vector<float>& x, const Shape& shape, int64_t begin, int64_t count) {
  std::vector<float> out;
  for (int64_t row = 0; row < shape[0]; ++row) {
    const auto start = x.begin() + (row * shape[1] + begin) * shape[2];
    out.insert(out.end(), start, start + count * shape[2]);
  }
  return out;
}

class LayersSideBySide : public GateAttentionOfAText {
 protected:
  static std::vector<float> dense_of(LayerContext& context, const GateAttention& work) {
    context.backend.attention(context.queue, work.dense);
    return read(context, work.dense.output);
  }
  static std::vector<float> sparse_of(LayerContext& context, const GateAttention& work, size_t rule) {
    context.backend.sparse_attention(context.queue, work.sparse[rule]);
    return read(context, work.sparse[rule].output);
  }
};

TEST_F(LayersSideBySide, AttendAsEachAlone) {
  SideBySide together(model_->backend(), 3);
  std::vector<std::vector<float>> dense;
  std::vector<std::vector<float>> sparse;
  double kept = 0;
  double visible = 0;
  run({nz_ratio(0.1), nz_ratio(0.3)}, {}, [&](LayerContext& context, const GateAttention& layer) {
    dense.push_back(dense_of(context, layer));
    sparse.push_back(sparse_of(context, layer, 1));
    kept += layer.kept[1];
    visible += layer.visible;
    together.add(context.queue, layer);
    ASSERT_EQ(together.complete(), dense.size() == 3);
    if (!together.complete()) return;

    const GateAttention all = together.take();
    EXPECT_EQ(all.layer, 0);
    EXPECT_EQ(all.kept[1], kept);
    EXPECT_EQ(all.visible, visible);
    const Shape shape = all.dense.output.shape();
    const int64_t heads = layer.dense.head_count;
    EXPECT_EQ(shape, (Shape{kTokens, 3 * heads, layer.dense.q.dim(2)}));
    const std::vector<float> all_dense = dense_of(context, all);
    const std::vector<float> all_sparse = sparse_of(context, all, 1);
    for (int64_t n = 0; n < 3; ++n) {
      SCOPED_TRACE(n);
      EXPECT_EQ(heads_of(all_dense, shape, n * heads, heads), dense[n]);
      EXPECT_EQ(heads_of(all_sparse, shape, n * heads, heads), sparse[n]);
    }
    EXPECT_NE(sparse[0], sparse[2]);
  });
  EXPECT_EQ(dense.size(), 3U);
}

TEST_F(LayersSideBySide, StartAnewAfterEachGroup) {
  SideBySide alone(model_->backend(), 1);
  int64_t layers = 0;
  run({nz_ratio(0.2)}, {}, [&](LayerContext& context, const GateAttention& layer) {
    alone.add(context.queue, layer);
    EXPECT_THAT(error_of([&] { alone.add(context.queue, layer); }).what(), HasSubstr("take()"));
    const GateAttention work = alone.take();
    EXPECT_EQ(work.layer, layers++);
    EXPECT_EQ(work.kept, layer.kept);
    EXPECT_EQ(work.visible, layer.visible);
    EXPECT_EQ(sparse_of(context, work, 0), sparse_of(context, layer, 0));
  });
  EXPECT_EQ(layers, 3);
}

}  // namespace
}  // namespace seer::test
