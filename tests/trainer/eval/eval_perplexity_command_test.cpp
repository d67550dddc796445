// `eval ppl` and `calibrate` as their users meet them.
#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "tests/trainer/eval/eval_files.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/report/perplexity_file.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

/// The nano model, random gates and two windows of 256 tokens of two books.
class EvalCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    write_random_gates(*folder_ / "gates", nano_model());
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static ProcessResult run(std::vector<std::string> command, const std::vector<std::string>& more,
                           const std::string& gates = "gates") {
    command.insert(command.end(), {"--model", nano_model().string(), "--threads", "1", "--documents", "2"});
    if (std::find(more.begin(), more.end(), "--data") == more.end())
      command.insert(command.end(), {"--data", nano_held_out().string()});
    if (!gates.empty()) command.insert(command.end(), {"--gates", path(gates)});
    command.insert(command.end(), more.begin(), more.end());
    return seer_train(command);
  }
  static ProcessResult perplexity(const std::vector<std::string>& more, const std::string& gates = "gates") {
    return run({"eval", "ppl"}, more, gates);
  }
  static Json json(const std::string& name) { return Json::parse(read_text_file(path(name))); }
  /// A copy of the gates for a test that changes them.
  static void copy_gates(const std::string& to) {
    fs::copy(path("gates"), path(to), fs::copy_options::recursive);
  }

  static inline std::unique_ptr<TempDir> folder_;
};

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

TEST_F(EvalCommand, CalibratedThresholdsReachTheirDensity) {
  copy_gates("calibrated");
  const Json before = json("calibrated/config.json");
  const ProcessResult result = run({"calibrate"}, {"--seq", "256", "--density", "0.4"}, "calibrated");
  expect_success(result);
  EXPECT_THAT(result.out, AllOf(HasSubstr("least head"), HasSubstr("--calibrated")));
  Json after = json("calibrated/config.json");
  ASSERT_EQ(after["seer_train_thresholds"].size(), 4U);
  EXPECT_EQ(after["seer_train_thresholds"][3].size(), 4U);
  after.erase("seer_train_thresholds");
  EXPECT_EQ(after, before) << "the other keys stay";

  expect_success(
      perplexity({"--seq", "256", "--calibrated", "--json", path("calibrated.json")}, "calibrated"));
  const report::Perplexity read = report::read_perplexity(path("calibrated.json"));
  ASSERT_EQ(read.lengths[0].rows.size(), 1U);
  const report::PerplexityRow& row = read.lengths[0].rows[0];
  EXPECT_EQ(row.method, "gate");
  EXPECT_EQ(row.rule, "threshold");
  EXPECT_TRUE(std::isnan(row.value)) << "by head";
  EXPECT_NEAR(row.density, 0.4, 0.05)
      << "q and k of the sparse model are not quite those it was calibrated on";

  // The same from a file.
  expect_success(run({"calibrate"}, {"--seq", "256", "--density", "0.4", "--to", path("thresholds.json")}));
  EXPECT_EQ(json("thresholds.json")["thresholds"], json("calibrated/config.json")["seer_train_thresholds"]);
  EXPECT_EQ(json("gates/config.json"), before);
  expect_success(
      perplexity({"--seq", "256", "--values", path("thresholds.json"), "--json", path("by_file.json")}));
  EXPECT_EQ(json("by_file.json")["lengths"][0]["rows"][0]["density_by_head"],
            json("calibrated.json")["lengths"][0]["rows"][0]["density_by_head"]);
}

TEST_F(EvalCommand, RefusesWhatItCannotDo) {
  expect_refusal(perplexity({"--seq", "128", "--methods", "gate"}, ""), kUsage, {"--gates"});
  expect_refusal(perplexity({"--seq", "128", "--methods", "best"}), kUsage, {"\"best\"", "oracle", "window"});
  expect_refusal(perplexity({"--seq", "128", "--density", "1.5"}), kUsage,
                 {"--density 1.5", "above 0 and up to 1"});
  expect_refusal(perplexity({"--seq", "128", "--density", "0"}), kUsage, {"--density 0"});
  expect_refusal(perplexity({"--seq", "128", "--threshold", "-0.1"}), kUsage,
                 {"--threshold -0.1", "from 0 and up to 1"});
  expect_refusal(perplexity({"--seq", "1"}), kUsage, {"--seq 1", "at least 2"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated"}), kFailure,
                 {"seer_train_thresholds", "4 layers of 4"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated", "--density", "0.1"}), kUsage, {"--calibrated"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated", "--methods", "window"}), kUsage, {"window"});
  write_npy(path("short.npy"), random_ids(1, 100, 4000));
  expect_refusal(perplexity({"--seq", "128", "--data", path("short.npy")}), kFailure, {"--seq", "--data"});
  expect_refusal(perplexity({"--data", path("nothing.jsonl")}), kFailure, {"nothing.jsonl"});
}

TEST_F(EvalCommand, RefusesThresholdsOfTheWrongShape) {
  const auto refused = [&](const std::string& text, const std::vector<std::string>& parts) {
    write_file_atomically(path("values.json"), text);
    expect_refusal(perplexity({"--seq", "128", "--values", path("values.json")}), kFailure, parts);
  };
  refused("{", {"values.json"});
  refused("{}", {"values.json", "thresholds", "4 layers of 4"});
  refused(R"({"thresholds": [[0.1, 0.1, 0.1, 0.1]]})", {"1 layers"});
  refused(R"({"thresholds": [[0,0,0,0],[0,0,0,0],[0,0,0],[0,0,0,0]]})", {"layer 2 has 3 entries"});
  refused(R"({"thresholds": [[0,0,0,0],[0,0,0,1.0],[0,0,0,0],[0,0,0,0]]})", {"layer 1 has 1.0"});
}

TEST_F(EvalCommand, CalibrateRefuses) {
  expect_refusal(run({"calibrate"}, {"--seq", "128"}), kUsage, {"--density or --recall"});
  expect_refusal(run({"calibrate"}, {"--seq", "128", "--density", "0.1", "--recall", "0.9"}), kUsage,
                 {"one of the two"});
  expect_refusal(run({"calibrate"}, {"--seq", "128", "--density", "0.1"}, ""), kUsage, {"--gates"});
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
