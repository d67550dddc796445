// Generation by the nano model: greedy answers against repeated prefills, and everything that ends one.
#include "trainer/eval/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/eval/eval_files.h"

namespace seer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const ScoringMethod kMean{.kind = ScoringMethod::Kind::kMeanPooled};
constexpr int64_t kMost = 80;

class NanoGenerator : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = std::make_unique<EvalModel>(on_one_thread(nano_model()), kMost);
    generator_ = std::make_unique<Generator>(*model_, std::vector{kMean});
    prompt_ =
        model_->tokenizer()->encode("The old man went down to the harbour, and when he saw the ship he");
  }
  static void TearDownTestSuite() {
    generator_.reset();
    model_.reset();
  }
  static Generation generate(const GenerateOptions& options, const AttentionPlan& plan = {}) {
    return generator_->generate(prompt_, plan, options);
  }

  static inline std::unique_ptr<EvalModel> model_;
  static inline std::unique_ptr<Generator> generator_;
  static inline std::vector<int32_t> prompt_;
};

TEST_F(NanoGenerator, GreedyIsWhatRepeatedPrefillsSay) {
  constexpr int64_t kNew = 12;
  const Generation answer = generate({.max_new_tokens = kNew});
  ASSERT_EQ(std::ssize(answer.ids), kNew);
  EXPECT_FALSE(answer.stopped);
  EXPECT_EQ(answer.density, 1);
  EXPECT_EQ(answer.text, model_->tokenizer()->decode(answer.ids, true));
  ForwardPass pass(model_->backend(), model_->config(), model_->weights(), nullptr,
                   {.max_tokens = kMost, .block_size = 16, .methods = {}, .visitor = {}});
  std::vector<int32_t> ids = prompt_;
  for (const int32_t id : answer.ids) {
    pass.prefill(ids, {});
    const std::vector<float> logits = pass.last_logits();
    EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(), id);
    ids.push_back(id);
  }
}

TEST_F(NanoGenerator, IsTheSameAgainAndPiecesJoinToTheText) {
  const GenerateOptions options{.max_new_tokens = 20, .sampling = {.temperature = 1, .seed = 3}};
  std::string joined;
  const Generation first =
      generator_->generate(prompt_, {}, options, [&](std::string_view t) { joined += t; });
  EXPECT_EQ(joined, first.text);
  EXPECT_EQ(generate(options).ids, first.ids);
  GenerateOptions other = options;
  other.sampling.seed = 4;
  EXPECT_NE(generate(other).ids, first.ids);
}

TEST_F(NanoGenerator, StopIdsEndItAndAreNoPartOfIt) {
  const Generation whole = generate({.max_new_tokens = 12});
  size_t at = 1;  // a token that did not come before
  while (std::find(whole.ids.begin(), whole.ids.begin() + at, whole.ids[at]) != whole.ids.begin() + at) ++at;
  const Generation cut = generate({.max_new_tokens = 12, .stop_ids = {whole.ids[at]}});
  EXPECT_TRUE(cut.stopped);
  EXPECT_EQ(cut.ids, std::vector(whole.ids.begin(), whole.ids.begin() + at));

  const Generation none = generate({.max_new_tokens = 12, .stop_ids = {whole.ids[0]}});
  EXPECT_TRUE(none.stopped && none.ids.empty() && none.text.empty());
}

TEST_F(NanoGenerator, WhatIsBannedIsNotFirst) {
  const int32_t likeliest = generate({.max_new_tokens = 1}).ids.at(0);
  const int32_t second = generate({.max_new_tokens = 1, .banned_first = {likeliest}}).ids.at(0);
  EXPECT_NE(second, likeliest);
  const Generation third =
      generate({.max_new_tokens = 12, .stop_ids = {likeliest}, .banned_first = {second, likeliest, 1 << 30}});
  ASSERT_FALSE(third.ids.empty()) << "the stop was banned from being first";
  EXPECT_NE(third.ids[0], likeliest);
  EXPECT_NE(third.ids[0], second);
}

TEST_F(NanoGenerator, StopTextsEndIt) {
  const std::string whole = generate({.max_new_tokens = 20}).text;
  ASSERT_GT(whole.size(), 12U);
  const std::string stop = whole.substr(8, 3);
  std::string shown;
  const Generation cut = generator_->generate(prompt_, {}, {.max_new_tokens = 20, .stops = {stop}},
                                              [&](std::string_view text) { shown += text; });
  EXPECT_TRUE(cut.stopped);
  EXPECT_EQ(cut.text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(shown, cut.text);
  EXPECT_LT(cut.ids.size(), 20U);
}

TEST_F(NanoGenerator, ASparsePrefillSaysHowDenseItWas) {
  const AttentionPlan plan{.method = kMean, .rule = {.by = SelectBy::kNzRatio, .value = 0.3}, .values = {}};
  const Generation answer = generate({.max_new_tokens = 1}, plan);
  EXPECT_GT(answer.density, 0);
  EXPECT_LT(answer.density, 1);
}

TEST_F(NanoGenerator, EndsWhereThePlannedMemoryDoes) {
  std::vector<int32_t> prompt(kMost - 3, 65);
  EXPECT_EQ(generator_->generate(prompt, {}, {.max_new_tokens = 50}).ids.size(), 4U);
  prompt.resize(kMost, 65);
  EXPECT_THAT(error_of([&] { (void)generator_->generate(prompt, {}, {}); }).what(), HasSubstr("80 tokens"));
  EXPECT_THAT(error_of([&] { (void)generator_->generate({}, {}, {}); }).what(), HasSubstr("empty"));
}

TEST_F(NanoGenerator, StopIdsAreTheModelsAndItsChatFormats) {
  const Tokenizer& tokenizer = *model_->tokenizer();
  std::vector<int32_t> expected = {4091};
  for (const char* token : {"<|eot_id|>", "<|eom_id|>", "<|im_end|>"}) {
    const auto id = tokenizer.token_to_id(token);
    if (id && *id != 4091) expected.push_back(*id);
  }
  EXPECT_EQ(stop_ids_of(*model_), expected);
}

TEST(StopIds, GenerationConfigAddsItsOwn) {
  const TempDir folder;
  write_tiny_model(folder / "model", {});
  const auto ids_with = [&](const std::string& json) {
    write_file_atomically(folder / "model/generation_config.json", json);
    return stop_ids_of(EvalModel(on_one_thread(folder / "model"), 32));
  };
  EXPECT_THAT(ids_with("{}"), ElementsAre(1));
  EXPECT_THAT(ids_with(R"({"eos_token_id": 7})"), ElementsAre(1, 7));
  EXPECT_THAT(ids_with(R"({"eos_token_id": [9, 1, 8]})"), ElementsAre(1, 9, 8));
  EXPECT_THAT(error_of([&] { (void)ids_with(R"({"eos_token_id": ["</s>"]})"); }).what(),
              HasSubstr("generation_config.json"));
}

TEST(GeneratorRefuses, AModelWithoutTokenizer) {
  const TempDir folder;
  write_tiny_model(folder / "model", {});
  EvalModel model(on_one_thread(folder / "model"), 32);
  EXPECT_THAT(error_of([&] { Generator generator(model, {}); }).what(), HasSubstr("no tokenizer.json"));
}

}  // namespace
}  // namespace seer::test
