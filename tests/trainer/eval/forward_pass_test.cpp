// The model from ids to logits: against transformers, decoding against prefill, sparse plans against dense ones.
#include "trainer/eval/forward_pass.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"
#include "tests/support/backends.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_model.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::Each;
using ::testing::HasSubstr;
using Kind = ScoringMethod::Kind;

constexpr int64_t kTokens = 203;
constexpr int64_t kBlock = 16;
constexpr int64_t kBlocks = (kTokens + kBlock - 1) / kBlock;
constexpr double kVisible = kBlocks * (kBlocks + 1) / 2;

double tolerance(double of_fp32) {
  return of_fp32 * backends().back().tolerance_factor;
}

/// A model folder that can be run.
class Opened {
 public:
  explicit Opened(const fs::path& folder, int64_t max_tokens = kTokens,
                  std::vector<ScoringMethod> methods = {})
      : backend_(backends().back().make()),
        queue_(backend_->make_queue("load")),
        config_(load_model_config(folder)),
        weights_(*backend_, *queue_, config_, folder, WeightOptions{.head = true}),
        pass_(
            *backend_, config_, weights_, nullptr,
            {.max_tokens = max_tokens, .block_size = kBlock, .methods = std::move(methods), .visitor = {}}) {
    backend_->synchronize(*queue_);
  }

  ForwardPass* operator->() { return &pass_; }
  const ModelConfig& config() const { return config_; }
  KvCache cache(int64_t capacity) { return {*backend_, config_, capacity}; }
  std::vector<float> logits_after(std::span<const int32_t> ids, const AttentionPlan& plan = {}) {
    pass_.prefill(ids, plan);
    return pass_.last_logits();
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  ModelConfig config_;
  FrozenWeights weights_;
  ForwardPass pass_;
};

/// The default tiny model: 2 layers of 4 heads.
class TinyForwardPass : public testing::Test {
 protected:
  TinyForwardPass() { write_tiny_model(folder_ / "model", {}); }
  static AttentionPlan plan(Kind kind, double nz_ratio) {
    return {.method = ScoringMethod{.kind = kind},
            .rule = {.by = SelectBy::kNzRatio, .value = nz_ratio},
            .values = {}};
  }

  TempDir folder_;
  const fs::path model_ = folder_ / "model";
  const std::vector<int32_t> ids_ = random_ids(3, kTokens, 256);
};

double nll_of(std::span<const float> logits, int64_t target) {
  double largest = -1e300;
  for (const float logit : logits) largest = std::max<double>(largest, logit);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum) - logits[target];
}

TEST(ForwardPassGolden, LogitsAndLikelihoodsAreTransformers) {
  for (const fs::path& folder : golden_cases("hf")) {
    SCOPED_TRACE(folder.string());
    const GoldenFile golden(folder / "expected.safetensors");
    const int64_t tokens = golden.shape("input_ids")[1];
    const std::vector<int64_t> all_ids = golden.integers("input_ids");
    const std::vector<float> all_logits = golden.floats("logits");
    Opened model(folder, tokens + 5);
    const int64_t vocabulary = model.config().vocab_size;
    for (int64_t b = 0; b < golden.shape("input_ids")[0]; ++b) {
      const std::vector<int32_t> ids(all_ids.begin() + b * tokens, all_ids.begin() + (b + 1) * tokens);
      const auto logits_at = [&](int64_t t) {
        return std::span(all_logits).subspan((b * tokens + t) * vocabulary, vocabulary);
      };
      EXPECT_LE(relative_error(model.logits_after(ids), logits_at(tokens - 1)), tolerance(1e-5));
      std::vector<int32_t> targets(ids.begin() + 1, ids.end());
      targets.push_back(-1);
      targets[7] = -1;
      const std::vector<float> nll = model->nll(targets);
      ASSERT_EQ(std::ssize(nll), tokens);
      for (int64_t t = 0; t < tokens; ++t) {
        const double expected = targets[t] < 0 ? 0.0 : nll_of(logits_at(t), targets[t]);
        ASSERT_NEAR(nll[t], expected, tolerance(1e-4)) << "token " << t;
      }
    }
  }
}

TEST_F(TinyForwardPass, DecodingGivesTheLogitsOfAPrefillOfAll) {
  Opened model(model_);
  constexpr int64_t kPrompt = 61;
  constexpr int64_t kMore = 5;
  KvCache cache = model.cache(kPrompt + kMore);
  model->prefill(std::span(ids_).first(kPrompt), {}, &cache);
  EXPECT_EQ(cache.length(), kPrompt);
  std::vector<std::vector<float>> decoded;
  for (int64_t t = kPrompt; t < kPrompt + kMore; ++t) {
    model->decode(ids_[t], cache);
    EXPECT_EQ(cache.length(), t + 1);
    decoded.push_back(model->last_logits());
  }
  EXPECT_THROW(model->decode(1, cache), Error) << "the cache is full";
  for (int64_t t = kPrompt; t < kPrompt + kMore; ++t) {
    EXPECT_LE(relative_error(decoded[t - kPrompt], model.logits_after(std::span(ids_).first(t + 1))),
              tolerance(1e-5));
  }
}

TEST_F(TinyForwardPass, DecodingRefillsACacheThatHeldAnotherPrompt) {
  Opened model(model_);
  KvCache cache = model.cache(kTokens);
  model->prefill(ids_, {}, &cache);
  const auto logits = [&](KvCache& into) {
    model->prefill(std::span(ids_).first(30), {}, &into);
    model->decode(9, into);
    return model->last_logits();
  };
  KvCache fresh = model.cache(kTokens);
  EXPECT_EQ(logits(cache), logits(fresh));
}

TEST_F(TinyForwardPass, AllBlocksAreTheDenseModel) {
  const std::vector<Kind> kinds = {Kind::kOracle, Kind::kMinMaxBound, Kind::kMeanPooled, Kind::kWindow,
                                   Kind::kRandom};
  std::vector<ScoringMethod> methods;
  for (const Kind kind : kinds) methods.push_back({.kind = kind});
  Opened model(model_, kTokens, methods);
  const std::vector<float> dense = model.logits_after(ids_);
  for (const Kind kind : kinds) {
    EXPECT_LE(relative_error(model.logits_after(ids_, plan(kind, 1.0)), dense), tolerance(1e-5));
    EXPECT_THAT(model->kept(), Each(Each(kVisible)));
    EXPECT_GT(relative_error(model.logits_after(ids_, plan(kind, 0.1)), dense), 1e-4)
        << "nothing was left out";
  }
}

TEST_F(TinyForwardPass, KeptBlocksAreCounted) {
  Opened model(model_, kTokens, {{.kind = Kind::kMeanPooled}});
  model->prefill(ids_, {});
  EXPECT_EQ(model->visible_blocks(), kVisible);
  ASSERT_EQ(model->kept().size(), 2U);
  ASSERT_EQ(model->kept()[1].size(), 4U);
  EXPECT_THAT(model->kept(), Each(Each(kVisible))) << "dense";
  for (const double ratio : {0.05, 0.3, 0.6}) {
    const int64_t most = blocks_a_row(SelectBy::kNzRatio, ratio, kBlocks, kBlock);
    double expected = 0;
    for (int64_t i = 0; i < kBlocks; ++i) expected += static_cast<double>(std::min(most, i + 1));
    AttentionPlan sparse = plan(Kind::kMeanPooled, ratio);
    model->prefill(ids_, sparse);
    EXPECT_THAT(model->kept(), Each(Each(expected))) << ratio;
    sparse.dense_layers = 1;
    model->prefill(ids_, sparse);
    EXPECT_THAT(model->kept()[0], Each(kVisible));
    EXPECT_THAT(model->kept()[1], Each(expected));
  }
  model->prefill(std::span(ids_).first(kBlock), plan(Kind::kMeanPooled, 0.05));
  EXPECT_EQ(model->visible_blocks(), 1);
  EXPECT_THAT(model->kept(), Each(Each(1.0))) << "counts of the pass before are gone";
}

TEST_F(TinyForwardPass, DenseLayersAreDense) {
  Opened model(model_, kTokens, {{.kind = Kind::kRandom}});
  AttentionPlan sparse = plan(Kind::kRandom, 0.1);
  sparse.dense_layers = 2;
  EXPECT_EQ(model.logits_after(ids_, sparse), model.logits_after(ids_));
}

TEST_F(TinyForwardPass, EveryHeadMayHaveAValueOfItsOwn) {
  Opened model(model_, kTokens, {{.kind = Kind::kMeanPooled}});
  AttentionPlan own{.method = ScoringMethod{.kind = Kind::kMeanPooled},
                    .rule = {.by = SelectBy::kThreshold, .value = 0.5},
                    .values = {{-1, 2, 2, 2}, {2, 2, -1, 2}}};
  model->prefill(ids_, own);
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int64_t head = 0; head < 4; ++head) {
      const bool all = own.values[layer][head] < 0;  // else no p is above, and the diagonal alone is kept
      EXPECT_EQ(model->kept()[layer][head], all ? kVisible : kBlocks) << layer << " " << head;
    }
  }
  own.values.pop_back();
  EXPECT_THROW(model->prefill(ids_, own), Error);
}

TEST_F(TinyForwardPass, ASparsePrefillFillsTheCacheAlike) {
  Opened model(model_, kTokens, {{.kind = Kind::kMinMaxBound}});
  KvCache cache = model.cache(kTokens + 7);
  const AttentionPlan sparse = plan(Kind::kMinMaxBound, 0.2);
  const std::vector<float> plain = model.logits_after(ids_, sparse);
  model->prefill(ids_, sparse, &cache);
  EXPECT_EQ(model->last_logits(), plain);
  EXPECT_EQ(cache.length(), kTokens);
}

/// The next token attends to all keys of a sparse prefill, which are not the dense one's: as in one sparse prefill whose last
/// block row, of that token alone, is dense.
TEST_F(TinyForwardPass, DecodingGoesOnBehindASparsePrefill) {
  constexpr int64_t kPrompt = 12 * kBlock;
  Opened model(model_, kTokens, {{.kind = Kind::kMinMaxBound}});
  AttentionPlan sparse = plan(Kind::kMinMaxBound, 1);
  sparse.rule = {.by = SelectBy::kTokenBudget, .value = 2 * kBlock};
  KvCache cache = model.cache(kTokens);
  model->prefill(std::span(ids_).first(kPrompt), sparse, &cache);
  model->decode(ids_[kPrompt], cache);
  const std::vector<float> decoded = model->last_logits();

  const auto together = std::span(ids_).first(kPrompt + 1);
  sparse.rule.dense_last_rows = 1;
  const std::vector<float> expected = model.logits_after(together, sparse);
  EXPECT_LE(relative_error(decoded, expected), tolerance(1e-5));
  EXPECT_GT(relative_error(decoded, model.logits_after(together)), 100 * relative_error(decoded, expected))
      << "a dense prefill leaves other keys";
}

TEST_F(TinyForwardPass, RefusesWhatDoesNotFit) {
  Opened model(model_, 100);
  KvCache cache = model.cache(50);
  EXPECT_THROW(model->prefill(std::span(ids_).first(101), {}), Error);
  EXPECT_THROW(model->prefill({}, {}), Error);
  EXPECT_THROW(model->prefill(std::span(ids_).first(51), {}, &cache), Error);
  model->prefill(std::span(ids_).first(50), {}, &cache);
  EXPECT_THROW(model->nll(std::span(ids_).first(49)), Error);
  EXPECT_THROW(model->decode(1, cache), Error);
}

TEST_F(TinyForwardPass, NamesWhereWeightsAreDamaged) {
  const auto message = [&](const std::string& name) {
    std::vector<OwnedTensor> tensors = tiny_tensors({});
    set_element(tensor_named(tensors, name), 5, std::numeric_limits<float>::quiet_NaN());
    write_model(folder_ / "damaged", tiny_config_json({}), tensors);
    Opened model(folder_ / "damaged", 40);
    try {
      model.logits_after(std::span(ids_).first(40));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message("model.layers.0.mlp.up_proj.weight"), HasSubstr("layer 0"));
  EXPECT_THAT(message("model.layers.1.self_attn.o_proj.weight"), HasSubstr("layer 1"));
  EXPECT_THAT(message("lm_head.weight"), HasSubstr("lm_head"));
  EXPECT_THAT(message("model.norm.weight"), HasSubstr("final norm"));
}

}  // namespace
}  // namespace seer::test
