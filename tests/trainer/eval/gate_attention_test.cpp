// What is measured of gates on a text is what the sparse model does there.
#include "trainer/eval/gate_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/eval/gate_attention_fixture.h"
#include "trainer/eval/recall_pass.h"

namespace seer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(GateAttentionOfAText, KeepsWhatTheSparseModelWould) {
  const std::vector<SelectionRule> rules = {nz_ratio(0.1), nz_ratio(0.4)};
  std::vector<AttentionPlan> plans;
  for (const SelectionRule& rule : rules)
    plans.push_back(
        {.method = ScoringMethod{.kind = ScoringMethod::Kind::kGate}, .rule = rule, .values = {}});
  RecallPass expected(model_->backend(), model_->config(), model_->weights(), model_->gates(), kTokens,
                      kBlock, plans);
  expected.add(ids_);
  const std::vector<RecallResult> results = expected.results();
  int64_t layers = 0;
  run(rules, {}, [&](LayerContext&, const GateAttention& work) {
    EXPECT_EQ(work.layer, layers++);
    ASSERT_EQ(work.kept.size(), rules.size());
    for (size_t r = 0; r < rules.size(); ++r)
      EXPECT_DOUBLE_EQ(work.kept[r] / work.visible, mean_of({results[r].density[work.layer]}));
    EXPECT_LT(work.kept[0], work.kept[1]);
  });
  EXPECT_EQ(layers, 3);
}

TEST_F(GateAttentionOfAText, IsDenseWhereEverythingIsKept) {
  run({nz_ratio(0.2), nz_ratio(1.0)}, {}, [&](LayerContext& context, const GateAttention& work) {
    Backend& backend = context.backend;
    backend.attention(context.queue, work.dense);
    const std::vector<float> dense = read(context, work.dense.output);
    backend.sparse_attention(context.queue, work.sparse[1]);
    EXPECT_EQ(work.kept[1], work.visible);
    EXPECT_LE(relative_error(read(context, work.dense.output), dense),
              1e-5 * backends().back().tolerance_factor);
    backend.sparse_attention(context.queue, work.sparse[0]);
    EXPECT_GT(relative_error(read(context, work.dense.output), dense), 0.01) << "something is left out";
  });
}

TEST_F(GateAttentionOfAText, VisitsTheLayersThatWereAskedFor) {
  std::vector<int64_t> visited;
  run({nz_ratio(0.2)}, {2, 0},
      [&](LayerContext&, const GateAttention& work) { visited.push_back(work.layer); });
  EXPECT_THAT(visited, ElementsAre(0, 2));
  EXPECT_THAT(error_of([&] { check_layers({0, 3}, model_->config()); }).what(), HasSubstr("0 to 2"));
}

}  // namespace
}  // namespace seer::test
