// `calibrate` as its users meet it, and the commands that follow its thresholds.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/trainer/eval/eval_command_fixture.h"
#include "trainer/report/perplexity_file.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class CalibrateCommand : public EvalCommand {};

TEST_F(CalibrateCommand, CalibratedThresholdsReachTheirDensity) {
  copy_gates("calibrated");
  const Json before = json("calibrated/config.json");
  const ProcessResult result = run({"calibrate"}, {"--seq", "256", "--density", "0.4"}, "calibrated");
  expect_success(result);
  EXPECT_THAT(result.out, AllOf(HasSubstr("least head"), HasSubstr("--calibrated")));
  EXPECT_THAT(seer_train({"inspect", path("calibrated")}).out,
              AllOf(HasSubstr("use with --calibrated"), HasSubstr("\"density\":0.4")));
  Json after = json("calibrated/config.json");
  ASSERT_EQ(after["seer_train_thresholds"]["thresholds"].size(), 4U);
  EXPECT_EQ(after["seer_train_thresholds"]["thresholds"][3].size(), 4U);
  const Json by_head = after["seer_train_thresholds"];
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
  EXPECT_EQ(json("thresholds.json"), by_head);
  EXPECT_EQ(by_head["target"]["density"], 0.4);
  EXPECT_EQ(by_head["target"]["seq"], 256);
  EXPECT_EQ(json("gates/config.json"), before);
  expect_success(
      perplexity({"--seq", "256", "--values", path("thresholds.json"), "--json", path("by_file.json")}));
  EXPECT_EQ(json("by_file.json")["lengths"][0]["rows"][0]["density_by_head"],
            json("calibrated.json")["lengths"][0]["rows"][0]["density_by_head"]);

  // Beside others, which have a rule of their own; and as it was written before.
  after["seer_train_thresholds"] = by_head["thresholds"];
  write_file_atomically(path("calibrated/config.json"), after.dump());
  expect_success(perplexity(
      {"--seq", "256", "--calibrated", "--density", "0.3", "--json", path("beside.json")}, "calibrated"));
  const report::Perplexity beside = report::read_perplexity(path("beside.json"));
  ASSERT_EQ(beside.lengths[0].rows.size(), 3U);
  EXPECT_EQ(beside.lengths[0].rows[0].density, row.density);
  EXPECT_EQ(beside.lengths[0].rows[1].label, "nz_ratio 0.3");
}

TEST_F(CalibrateCommand, ThresholdsForSomethingElseAreRefused) {
  copy_gates("first");
  expect_success(run({"calibrate"}, {"--seq", "128", "--density", "0.4", "--sink-blocks", "1"}, "first"));
  write_random_gates(path("second"), nano_model(), 16, /*seed=*/2);
  fs::copy_file(path("first/config.json"), path("second/config.json"), fs::copy_options::overwrite_existing);
  expect_refusal(perplexity({"--seq", "128", "--calibrated", "--no-diagonal"}, "first"), kUsage,
                 {"--no-diagonal", "calibrate with --no-diagonal"});
  expect_refusal(perplexity({"--seq", "128", "--calibrated", "--sink-blocks", "0"}, "first"), kUsage,
                 {"--sink-blocks 0", "1 kept", "calibrate with --sink-blocks 0"});
  expect_success(
      perplexity({"--seq", "128", "--calibrated", "--sink-blocks", "2", "--local-blocks", "0"}, "first"));
  expect_refusal(perplexity({"--seq", "128", "--calibrated"}, "second"), kUsage,
                 {path("second"), "other weights", "calibrate again"});

  // From a file as well, which is for a gate alone.
  expect_success(run({"calibrate"},
                     {"--seq", "128", "--density", "0.4", "--sink-blocks", "1", "--to", path("first.json")},
                     "first"));
  const std::vector<std::string> by_file = {"--seq", "128", "--values", path("first.json")};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = by_file;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  expect_success(perplexity(with({"--methods", "gate"}), "first"));
  expect_refusal(perplexity(with({"--methods", "gate"}), "second"), kUsage,
                 {path("first.json"), "other weights", path("second")});
  expect_refusal(perplexity(with({"--methods", "gate,minmax"}), "first"), kUsage,
                 {path("first.json"), "of a gate", "method minmax"});
  expect_refusal(perplexity(with({"--methods", "gate", "--sink-blocks", "0"}), "first"), kUsage,
                 {"--sink-blocks 0", path("first.json"), "1 kept"});
}

TEST_F(CalibrateCommand, CalibrationHoldsNearItsLength) {
  copy_gates("calibrated");
  expect_success(run({"calibrate"}, {"--seq", "256", "--density", "0.4"}, "calibrated"));
  const auto said = [&](const char* length) {
    const ProcessResult result = perplexity({"--seq", length, "--calibrated", "--no-recall"}, "calibrated");
    expect_success(result);
    return result.err;
  };
  for (const char* near : {"192", "256", "384"})
    EXPECT_THAT(said(near), Not(HasSubstr("calibrated at"))) << near;
  for (const char* far : {"128", "512"})
    EXPECT_THAT(said(far), AllOf(HasSubstr("calibrated at 256 tokens"), HasSubstr("at " + std::string(far))))
        << far;
}

TEST_F(CalibrateCommand, CalibrationWarnsOfWhatIsOutOfReach) {
  const ProcessResult result = run({"calibrate"}, {"--seq", "256", "--density", "0.05", "--sink-blocks", "3",
                                                   "--to", path("out_of_reach.json")});
  expect_success(result);
  EXPECT_THAT(result.err, HasSubstr("--density 0.05 is out of reach"));
}

TEST_F(CalibrateCommand, CalibrationKnowsWhatIsKeptBesides) {
  copy_gates("with_sink");
  expect_success(run({"calibrate"}, {"--seq", "256", "--density", "0.4", "--sink-blocks", "2"}, "with_sink"));
  EXPECT_EQ(json("with_sink/config.json")["seer_train_thresholds"]["forced"]["sink_blocks"], 2);
  expect_success(perplexity({"--seq", "256", "--calibrated", "--json", path("with_sink.json")}, "with_sink"));
  const report::PerplexityRow row = report::read_perplexity(path("with_sink.json")).lengths[0].rows.at(0);
  EXPECT_NEAR(row.density, 0.4, 0.05) << "the first blocks included";
  EXPECT_THAT(row.label, testing::MatchesRegex("threshold by head [0-9a-f]{8}, sink 2"));
}

TEST_F(CalibrateCommand, RefusesThresholdsOfTheWrongShape) {
  const auto refused = [&](const std::string& text, const std::vector<std::string>& parts) {
    write_file_atomically(path("values.json"), text);
    expect_refusal(perplexity({"--seq", "128", "--values", path("values.json")}), kFailure, parts);
  };
  refused("{", {"values.json"});
  refused("{}", {"values.json", "\"rule\"", "\"thresholds\""});
  refused(R"({"rule": "ratio", "values": []})", {"\"rule\" is \"ratio\"", "nz_ratio"});
  refused(R"({"values": []})", {"\"rule\" is missing"});
  refused(R"({"rule": "nz_ratio", "values": [[1,1,1,1],[1,1,1,1],[1,0,1,1],[1,1,1,1]]})",
          {"layer 2 has 0", "above 0 and up to 1", "4 layers of 4"});
  refused(R"({"thresholds": [[0.1, 0.1, 0.1, 0.1]]})", {"1 layers"});
  refused(R"({"thresholds": [[0,0,0,0],[0,0,0,0],[0,0,0],[0,0,0,0]]})", {"layer 2 has 3 entries"});
  refused(R"({"thresholds": [[0,0,0,0],[0,0,0,1.5],[0,0,0,0],[0,0,0,0]]})", {"layer 1 has 1.5"});
}

TEST_F(CalibrateCommand, CalibrateRefuses) {
  expect_refusal(run({"calibrate"}, {"--seq", "128"}), kUsage, {"one of --density and --recall"});
  expect_refusal(run({"calibrate"}, {"--seq", "128", "--density", "0.1", "--recall", "0.9"}), kUsage,
                 {"--density and --recall, not both"});
  expect_refusal(run({"calibrate"}, {"--seq", "128", "--density", "0.1"}, ""), kUsage, {"--gates"});
}

/// The config's last rows are no part of what was calibrated.
TEST_F(CalibrateCommand, LastRowsOfTheConfigAreNotAddedToThresholds) {
  copy_gates("rows");
  Json config = json("rows/config.json");
  config["seerattn_last_block_dense"] = true;
  write_file_atomically(path("rows/config.json"), config.dump());
  expect_success(run({"calibrate"}, {"--seq", "256", "--density", "0.4"}, "rows"));
  const ProcessResult result = seer_train({"eval", "ruler", "--model", nano_model().string(), "--gates",
                                           path("rows"), "--tasks", "cwe", "--samples", "1", "--seq", "1024",
                                           "--no-dense", "--calibrated", "--results", path("rows.jsonl")});
  expect_success(result);
  EXPECT_THAT(result.out, AllOf(HasSubstr("threshold by head"), Not(HasSubstr("dense rows"))));
  EXPECT_THAT(result.err, HasSubstr("calibrated at 256 tokens"));
}

}  // namespace
}  // namespace seer::test
