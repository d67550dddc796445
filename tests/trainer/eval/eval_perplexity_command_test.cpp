// `eval ppl` as its users meet it.
#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "tests/trainer/eval/eval_command_fixture.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/report/perplexity_file.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

TEST_F(EvalCommand, PerplexityByMethodAndDensity) {
  const ProcessResult result =
      perplexity({"--seq", "128,256", "--density", "0.3,1", "--methods",
                  "gate,oracle,minmax,mean,antidiagonal8,window,random", "--json", path("ppl.json")});
  expect_success(result);
  EXPECT_THAT(result.out, AllOf(HasSubstr("dense"), HasSubstr("nz_ratio 0.3"), HasSubstr("speed-up"),
                                HasSubstr("antidiagonal8")));
  const Json written = json("ppl.json");
  EXPECT_EQ(written["model"], nano_model().string());
  EXPECT_EQ(written["gates"], path("gates"));
  const report::Perplexity read = report::read_perplexity(path("ppl.json"));
  EXPECT_EQ(read.gate_type, "Qavg_Kmaxminavg");
  EXPECT_EQ(read.gate_form, "");
  EXPECT_EQ(read.block_size, 16);
  EXPECT_EQ(read.device, "cpu");
  ASSERT_EQ(read.lengths.size(), 2U);
  for (const report::PerplexityLength& length : read.lengths) {
    EXPECT_EQ(length.windows, 2);
    EXPECT_GT(length.dense_perplexity, 5);
    EXPECT_LT(length.dense_perplexity, 1000) << "a trained model of 4,096 tokens";
    EXPECT_GT(length.dense_prefill_seconds, 0);
    ASSERT_EQ(length.rows.size(), 14U);
    for (const report::PerplexityRow& row : length.rows) {
      SCOPED_TRACE(row.method);
      ASSERT_EQ(row.density_by_head.size(), 4U);
      ASSERT_EQ(row.recall_by_head.size(), 4U);
      EXPECT_NEAR(row.change, row.perplexity / length.dense_perplexity - 1, 1e-9);
      EXPECT_EQ(std::isnan(row.prefill_seconds), row.method == "oracle");
      EXPECT_EQ(std::isnan(row.speedup), row.method == "oracle");
      if (row.value == 1) {
        EXPECT_EQ(row.density, 1);
        EXPECT_NEAR(row.change, 0, 1e-4);
        EXPECT_NEAR(row.recall, 1, 1e-6);
      } else {
        EXPECT_LT(row.density, 0.8);
        EXPECT_GT(std::abs(row.change), 1e-6);
        EXPECT_LT(row.recall, 1);
      }
    }
    const auto of = [&](const std::string& method) {
      for (const auto& row : length.rows)
        if (row.method == method && row.value < 1) return row;
      return report::PerplexityRow{};
    };
    EXPECT_GT(of("oracle").recall, of("random").recall);
    EXPECT_GE(of("oracle").recall, of("gate").recall);
  }
}

TEST_F(EvalCommand, DefaultsWithoutGates) {
  const ProcessResult result = perplexity(
      {"--seq", "128", "--density", "0.5", "--block", "32", "--no-recall", "--json", path("none.json")}, "");
  expect_success(result);
  const report::Perplexity read = report::read_perplexity(path("none.json"));
  EXPECT_EQ(read.gates, "");
  EXPECT_EQ(read.block_size, 32);
  ASSERT_EQ(read.lengths[0].rows.size(), 2U);
  EXPECT_EQ(read.lengths[0].rows[0].method, "window");
  EXPECT_EQ(read.lengths[0].rows[1].method, "oracle");
  EXPECT_TRUE(std::isnan(read.lengths[0].rows[0].recall));
  EXPECT_TRUE(json("none.json")["lengths"][0]["rows"][0]["recall_by_head"].is_null());
}

TEST_F(EvalCommand, StreamedWeightsAndBothWeightFilesGiveTheSame) {
  const auto rows = [&](const std::vector<std::string>& more, const std::string& gates) {
    std::vector<std::string> arguments = {"--seq", "128", "--density", "0.4", "--json", path("same.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_success(perplexity(arguments, gates));
    Json result = json("same.json")["lengths"];
    for (Json& row : result[0]["rows"]) {
      row.erase("prefill_seconds");
      row.erase("speedup");
    }
    result[0]["dense"].erase("prefill_seconds");
    return result;
  };
  const Json plain = rows({}, "gates");
  EXPECT_EQ(rows({"--stream-weights"}, "gates"), plain);
  copy_gates("published");  // has no safetensors
  fs::remove(path("published/attn_gate_weights.safetensors"));
  EXPECT_EQ(rows({}, "published"), plain);
  write_random_gates(path("others"), nano_model());
  fs::remove(path("others/attn_gate_weights.pth"));
  EXPECT_EQ(rows({}, "others"), plain);
}

TEST_F(EvalCommand, SaysWhichDocumentsAreTooShort) {
  write_file_atomically(path("books.jsonl"), fmt::format("{{\"text\":\"{}\"}}\n{{\"text\":\"Short.\"}}\n",
                                                         std::string(4000, 'a')));
  const ProcessResult result =
      seer_train({"eval", "ppl", "--model", nano_model().string(), "--data", path("books.jsonl"), "--seq",
                  "128", "--density", "0.5", "--methods", "window"});
  expect_success(result);
  EXPECT_THAT(result.err, HasSubstr("1 of 2 documents have fewer than 128 tokens and are left out"));
}

/// What the flags force shows in how much is kept: rows of 1 to 16 blocks, of which the rule keeps one, the diagonal.
TEST_F(EvalCommand, FlagsKeepBlocksBesides) {
  struct Case {
    std::vector<std::string> flags;
    double kept;  // of 136 blocks
    std::string label;
  };
  const std::vector<Case> cases = {
      {{}, 16, "nz_ratio 0.01"},
      {{"--sink-blocks", "1"}, 1 + 15 * 2, "nz_ratio 0.01, sink 1"},
      {{"--local-blocks", "3"}, 1 + 2 + 14 * 3, "nz_ratio 0.01, local 3"},
      {{"--min-blocks", "2"}, 1 + 15 * 2, "nz_ratio 0.01, least 2"},
      {{"--dense-last-rows", "3"}, 13 + 14 + 15 + 16, "nz_ratio 0.01, dense rows 3"},
      {{"--last-block-dense"}, 14 + 15 + 16, "nz_ratio 0.01, dense rows 2"},
      {{"--no-diagonal"}, 16, "nz_ratio 0.01, no diagonal"},
      {{"--dense-layers", "2"}, (136 + 16) / 2.0, "nz_ratio 0.01, dense layers 2"},
      {{"--sink-blocks", "1", "--no-diagonal"}, 16, "nz_ratio 0.01, sink 1, no diagonal"},
  };
  for (const Case& tested : cases) {
    SCOPED_TRACE(tested.label);
    std::vector<std::string> flags = {"--seq",     "256",         "--density", "0.01",
                                      "--methods", "gate,oracle", "--json",    path("forced.json")};
    flags.insert(flags.end(), tested.flags.begin(), tested.flags.end());
    expect_success(perplexity(flags));
    const auto rows = report::read_perplexity(path("forced.json")).lengths[0].rows;
    EXPECT_NEAR(rows.at(0).density, tested.kept / 136, 1e-9);
    EXPECT_EQ(rows[0].label, tested.label);
    EXPECT_NEAR(rows.at(1).density, tested.kept / 136, 1e-9) << "the oracle keeps as many";
    EXPECT_GE(rows[1].recall, rows[0].recall - 1e-9);
  }
  expect_success(perplexity({"--seq", "256", "--token-budget", "32", "--threshold", "0,1", "--block-top-p",
                             "1", "--methods", "gate", "--json", path("rules.json")}));
  const auto rows = report::read_perplexity(path("rules.json")).lengths[0].rows;
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].density, 1) << "any probability is above 0";
  EXPECT_NEAR(rows[1].density, 16.0 / 136, 1e-9) << "none is above 1";
  EXPECT_NEAR(rows[2].density, 31.0 / 136, 1e-9) << "two blocks of 16";
  EXPECT_EQ(rows[3].density, 1);
}

TEST_F(EvalCommand, ValuesByHeadAreOfAnyRule) {
  Json values = Json::array();
  for (int layer = 0; layer < 4; ++layer) values.push_back({0.01, 1, 0.01, 1});
  write_file_atomically(path("ratios.json"), Json{{"rule", "nz_ratio"}, {"values", values}}.dump());
  expect_success(perplexity({"--seq", "256", "--values", path("ratios.json"), "--methods", "gate,window",
                             "--json", path("ratios_ppl.json")}));
  const report::Perplexity read = report::read_perplexity(path("ratios_ppl.json"));
  ASSERT_EQ(read.lengths[0].rows.size(), 2U);
  for (const report::PerplexityRow& row : read.lengths[0].rows) {
    EXPECT_THAT(row.label, testing::StartsWith("nz_ratio by head "));
    for (const std::vector<double>& layer : row.density_by_head) {
      EXPECT_NEAR(layer.at(0), 16.0 / 136, 1e-9);
      EXPECT_EQ(layer.at(1), 1);
    }
  }
}

TEST_F(EvalCommand, GatesOfAnotherModelAreNamed) {
  const TinyRun tiny;
  write_random_gates(path("tiny"), tiny.model());
  expect_refusal(
      perplexity({"--seq", "128"}, "tiny"), kFailure,
      {path("tiny"), "gates of another model", tiny.model().string(), "2 layers of 4", "--model has 4 of"});
}

TEST_F(EvalCommand, SaysWhatMakesGatesLookBad) {
  const ProcessResult one = perplexity({"--seq", "128", "--density", "0.1", "--methods", "gate"});
  expect_success(one);
  EXPECT_THAT(one.err,
              AllOf(HasSubstr("--sink-blocks 1 keeps it"), HasSubstr("one block a row at 128 tokens")));
  const ProcessResult fine =
      perplexity({"--seq", "128", "--density", "0.5", "--methods", "gate", "--sink-blocks", "1"});
  EXPECT_THAT(fine.err, testing::Not(AnyOf(HasSubstr("--sink-blocks"), HasSubstr("one block a row"))));
  const ProcessResult two =
      perplexity({"--seq", "128", "--density", "0.1", "--methods", "gate", "--sink-blocks", "1"});
  EXPECT_THAT(two.err, testing::Not(HasSubstr("one block a row"))) << "the first block as well";
}

TEST_F(EvalCommand, DefaultMethodsAreThoseThatCanFollowTheRule) {
  expect_success(
      perplexity({"--seq", "128", "--threshold", "0.02", "--density", "0.4", "--json", path("both.json")}));
  std::string all;
  const report::Perplexity read = report::read_perplexity(path("both.json"));
  for (const report::PerplexityRow& row : read.lengths.at(0).rows) all += row.method + " " + row.rule + ", ";
  EXPECT_EQ(all, "gate nz_ratio, gate threshold, window nz_ratio, oracle nz_ratio, oracle threshold, ");
}

TEST_F(EvalCommand, ATextThatIsTooShortIsToldBeforeAnythingIsMeasured) {
  write_npy(path("one.npy"), random_ids(1, 300, 4000));
  const ProcessResult result = perplexity({"--seq", "128,4096", "--data", path("one.npy")});
  expect_refusal(result, kFailure, {"--seq 4096"});
  EXPECT_THAT(result.err, testing::Not(HasSubstr("perplexity")));
}

TEST_F(EvalCommand, RefusesWhatItCannotDo) {
  copy_gates("calibrated_once");
  expect_success(run({"calibrate"}, {"--seq", "128", "--density", "0.4"}, "calibrated_once"));
  expect_refusal(run({"calibrate"}, {"--seq", "128", "--density", "0.4", "--to", path("nowhere/x.json")}),
                 kUsage, {"--to", "nowhere"});
  expect_refusal(perplexity({"--seq", "128", "--methods", "gate"}, ""), kUsage, {"--gates"});
  expect_refusal(perplexity({"--seq", "128", "--methods", "best"}), kUsage, {"\"best\"", "oracle", "window"});
  expect_refusal(perplexity({"--seq", "128", "--density", "1.5"}), kUsage,
                 {"--density 1.5", "above 0 and up to 1"});
  expect_refusal(perplexity({"--seq", "128", "--density", "0"}), kUsage, {"--density 0"});
  expect_refusal(perplexity({"--seq", "128", "--threshold", "-0.1"}), kUsage,
                 {"--threshold -0.1", "from 0 and up to 1"});
  expect_refusal(perplexity({"--seq", "128", "--dense-last-rows", "-1"}), kUsage,
                 {"--dense-last-rows: found -1", "0 or a number above"});
  expect_refusal(perplexity({"--seq", "1"}), kUsage, {"--seq 1", "at least 2"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated"}), kFailure,
                 {"seer_train_thresholds", "seer-train calibrate"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated", "--values", nano_held_out().string()}), kUsage,
                 {"--values and --calibrated"});
  expect_refusal(perplexity({"--seq", "128", "--density", "0.1", "--values", nano_held_out().string()}),
                 kUsage, {"--values is the rule"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated", "--methods", "window"}), kUsage,
                 {"window needs a --density"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated", "--density", "0.3", "--methods", "gate"},
                            "calibrated_once"),
                 kUsage, {"values by head", "--density"});
  expect_refusal(perplexity({"--seq", "128", "--json", path("nowhere/x.json")}), kUsage,
                 {"--json", "nowhere"});
  expect_refusal(perplexity({"--seq", "128", "--precision", "bf16"}), kUsage, {"--precision bf16", "fp32"});
  // Scores that are no probabilities.
  expect_refusal(perplexity({"--seq", "128", "--threshold", "0.1", "--methods", "window"}), kUsage,
                 {"window has no probabilities", "--density"});
  expect_refusal(perplexity({"--seq", "128", "--block-top-p", "0.9", "--methods", "random"}), kUsage,
                 {"random"});
  expect_refusal(perplexity({"--seq", "128", "--threshold", "0.1", "--methods", "antidiagonal8"}), kUsage,
                 {"antidiagonal8", "--block-top-p"});
  write_npy(path("short.npy"), random_ids(1, 100, 4000));
  expect_refusal(perplexity({"--seq", "128", "--data", path("short.npy")}), kFailure, {"--seq", "--data"});
  expect_refusal(perplexity({"--data", path("nothing.jsonl")}), kFailure, {"nothing.jsonl"});
}

TEST(EvalTinyModel, TokenIdsNeedNoTokenizerTextDoes) {
  const TinyRun tiny(TinyRun::Layout::kPacked);
  const auto run = [&](const std::string& data) {
    return seer_train({"eval", "ppl", "--model", tiny.model().string(), "--data", data, "--seq", "64",
                       "--block", "16", "--density", "0.5", "--methods", "mean", "--threads", "1"});
  };
  expect_success(run(tiny.path("held_out.safetensors").string()));
  expect_refusal(run(nano_held_out().string()), kUsage, {"heldout.jsonl.zst", "no tokenizer"});
}

}  // namespace
}  // namespace seer::test
