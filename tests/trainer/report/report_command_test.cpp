// `seer-train report` on what a real run left behind.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/trainer/report/sample_report.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/metrics_log.h"
#include "trainer/report/html.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ReportCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    run_ = std::make_unique<TinyRun>();
    expect_success(run_->train("run"));
  }
  static void TearDownTestSuite() { run_.reset(); }
  void TearDown() override {
    for (const char* file : {"run/eval-ppl.json", "run/eval-ppl-16k.json", "run/gates/fine/eval-ppl.json"}) {
      fs::remove(run_->path(file));
    }
  }

  static std::string path(const std::string& name) { return run_->path(name).string(); }
  static ProcessResult report_on(const std::string& source) {
    return seer_train({"report", path(source), "--out", path("page.html")});
  }
  static std::string page() { return read_text_file(path("page.html")); }

  static inline std::unique_ptr<TinyRun> run_;
};

TEST_F(ReportCommand, ShowsARunAndPrintsWhere) {
  const ProcessResult result = report_on("run");
  expect_success(result);
  EXPECT_EQ(result.out, path("page.html") + "\n");
  const std::string html = page();
  EXPECT_THAT(html, AllOf(HasSubstr("<h3>fine: "), HasSubstr("<h3>coarse: "), HasSubstr("<dt>Steps<dd>8<"),
                          HasSubstr("seer-train eval ppl"), HasSubstr("Written by seer-train ")));
  // The figures are those of the run's own log.
  const MetricsHistory history = read_metrics(run_->path("run/metrics.jsonl"));
  for (const StepMetrics& step : history.steps) {
    for (const GateMetrics& gate : step.gates) {
      EXPECT_THAT(html, HasSubstr("<td>" + report::significant(gate.loss, 4)));
      for (const double loss : gate.layer_losses) {
        EXPECT_THAT(html, HasSubstr("<td>" + report::significant(loss, 3)));
      }
    }
  }
  ASSERT_FALSE(history.evals.empty());
  for (const EvalMetrics& eval : history.evals) {
    for (const EvalDensity& at : eval.densities)
      EXPECT_THAT(html, HasSubstr("<td>" + report::percent(at.recall)));
  }
}

TEST_F(ReportCommand, HasAPlaceForThePageWhereNoneIsNamed) {
  const ProcessResult of_run = seer_train({"report", path("run")});
  expect_success(of_run);
  EXPECT_EQ(of_run.out, path("run/report.html") + "\n");
  EXPECT_THAT(read_text_file(path("run/report.html")), HasSubstr("<h3>fine: "));
  const ProcessResult of_gates =
      seer_train({"report", path("run/gates/fine/"), "--model", path("model"), "--data", path("held_out.npy"),
                  "--seq", "256", "--heads", "0:1"});
  expect_success(of_gates);
  EXPECT_EQ(of_gates.out, path("run/gates/fine-report.html") + "\n")
      << "beside: the folder holds nothing but gates";
  EXPECT_THAT(read_text_file(path("run/gates/fine-report.html")), HasSubstr("Layer 0, head 1"));
  // And is no gates folder of the run.
  fs::rename(path("run/gates/coarse"), path("coarse"));
  expect_success(seer_train({"report", path("run"), "--model", path("model"), "--data", path("held_out.npy"),
                             "--seq", "256", "--heads", "0:1"}));
  fs::rename(path("coarse"), path("run/gates/coarse"));
}

TEST_F(ReportCommand, SaysWhereEvaluationsBelong) {
  const std::vector<std::string> maps = {
      "--model", path("model"), "--data", path("held_out.npy"), "--seq", "256",
      "--heads", "0:1",         "--out",  path("page.html")};
  const auto expect_hint = [&](const std::string& source, const std::string& folder) {
    std::vector<std::string> command = {"report", path(source)};
    command.insert(command.end(), maps.begin(), maps.end());
    expect_success(seer_train(command));
    EXPECT_THAT(page(), HasSubstr("--json " + path(folder) + "/eval-ppl.json"));
  };
  expect_hint("run/gates/fine", "run");  // which will export into gates/fine again
  fs::copy(path("run/gates/fine"), path("alone"), fs::copy_options::recursive);
  expect_hint("alone", "alone");
}

TEST_F(ReportCommand, DrawsMapsOfChosenHeads) {
  const auto maps = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"report", path("run"), "--out", path("page.html")});
    return seer_train(more);
  };
  const std::vector<std::string> text = {"--model", path("model"), "--data", path("held_out.npy"),
                                         "--seq",   "256"};
  const auto with_text = [&](std::vector<std::string> more) {
    more.insert(more.end(), text.begin(), text.end());
    return maps(more);
  };
  expect_success(with_text({"--gate", "fine", "--density", "0.3", "--heads", "0:1,1:0"}));
  EXPECT_THAT(page(), AllOf(HasSubstr("Layer 0, head 1"), HasSubstr("Layer 1, head 0"),
                            Not(HasSubstr("Layer 0, head 0"))));

  expect_refusal(maps({"--model", path("model")}), 2, {"--data"});
  expect_refusal(maps({"--heads", "0:1"}), 2, {"--heads", "--model"});
  expect_refusal(maps({"--density", "0.3"}), 2, {"rule", "--model"});
  expect_refusal(maps({"--sink-blocks", "1"}), 2, {"rule", "--model"});
  expect_refusal(with_text({"--density", "0.3"}), 2, {"coarse, fine", "--gate"});
  expect_refusal(with_text({"--gate", "fine", "--heads", "9:0"}), 2, {"--heads 9:0", "layers 0 to"});
  expect_refusal(with_text({"--gate", "fine", "--heads", "0-1"}), 2, {"LAYER:HEAD"});
  expect_refusal(with_text({"--gate", "fine", "--density", "0.1,0.2"}), 2, {"one rule"});
}

/// Which of three maps keep everything.
TEST_F(ReportCommand, DrawsMapsOfRulesByLayerAndHead) {
  const auto kept = [](std::vector<std::string> more) {
    const std::vector<std::string> all = {"report",  path("run"),   "--out",  path("page.html"),
                                          "--model", path("model"), "--data", path("held_out.npy"),
                                          "--seq",   "256",         "--gate", "fine",
                                          "--heads", "0:0,0:1,1:1"};
    more.insert(more.begin(), all.begin(), all.end());
    expect_success(seer_train(more));
    const std::string text = page();
    std::vector<bool> everything;
    for (const char* map : {"Layer 0, head 0", "Layer 0, head 1", "Layer 1, head 1"}) {
      const size_t note = text.find("Keeps ", text.find(map));
      everything.push_back(text.compare(note, 16, "Keeps 100.0 % of") == 0);
    }
    return everything;
  };
  EXPECT_THAT(kept({"--density", "0.3"}), ElementsAre(false, false, false));
  EXPECT_THAT(kept({"--density", "0.3", "--dense-layers", "1"}), ElementsAre(true, true, false));
  write_file_atomically(path("values.json"),
                        R"({"rule": "nz_ratio", "values": [[0.2, 1, 0.2, 0.2], [0.2, 1, 0.2, 0.2]]})");
  EXPECT_THAT(kept({"--values", path("values.json")}), ElementsAre(false, true, true));
}

TEST_F(ReportCommand, FindsEvaluationsInTheRunAndItsGates) {
  nlohmann::json json = sample_perplexity_json(2, 2);
  json["data"] = "one.jsonl";
  write_file_atomically(path("run/eval-ppl.json"), json.dump());
  json["data"] = "two.jsonl";
  write_file_atomically(path("run/eval-ppl-16k.json"), json.dump());
  json["data"] = "three.jsonl";
  write_file_atomically(path("run/gates/fine/eval-ppl.json"), json.dump());
  expect_success(report_on("run"));
  EXPECT_THAT(page(), AllOf(HasSubstr("one.jsonl"), HasSubstr("two.jsonl"), HasSubstr("three.jsonl")));
  expect_success(report_on("run/gates/fine"));
  EXPECT_THAT(page(), AllOf(Not(HasSubstr("one.jsonl")), HasSubstr("three.jsonl"),
                            HasSubstr("No training curves"), HasSubstr("<dt>Gate type<dd>Q")));
}

TEST_F(ReportCommand, RefusesWhatItCannotShow) {
  expect_refusal(report_on("missing"), kFailure, {"missing does not exist"});
  expect_refusal(report_on("model"), kFailure, {"a model's folder", "expected the folder of a run"});
  expect_refusal(report_on("config.json"), kFailure, {"config.json is a file"});
  expect_refusal(report_on("run/gates/fine"), kFailure, {"nothing to show yet", "eval ppl"});
}

TEST_F(ReportCommand, DamagedFilesAreNamedAndTheOldPageStays) {
  write_file_atomically(path("page.html"), "the old page");
  write_file_atomically(path("run/eval-ppl.json"), "{\"kind\":\"perplexity\",\"version\":3}");
  expect_refusal(report_on("run"), kFailure, {"eval-ppl.json", "\"version\" is not 1"});
  EXPECT_EQ(page(), "the old page");
  fs::remove(path("run/eval-ppl.json"));
  fs::create_directories(path("other"));
  for (
      const auto& [lines, message] :
      {std::pair{
           R"({"step":1,"gate":"g","loss":1,"layer_losses":[1],"lr":1,"grad_norm":1,"tokens":1,"tokens_per_second":1,"time":1}
{"step":2,"gate":"g","loss":1,"layer_losses":[1,2],"lr":1,"grad_norm":1,"tokens":1,"tokens_per_second":1,"time":1}
)",
           "step 2 of gate \"g\" has 2 layers, the first line has 1"},
       std::pair{"{\"step\":1}\n", "line 1: no \"tokens\""}}) {
    write_file_atomically(path("other/metrics.jsonl"), lines);
    expect_refusal(report_on("other"), kFailure, {"metrics.jsonl", message});
  }
  write_file_atomically(path("other/metrics.jsonl"), "");
  expect_refusal(report_on("other"), kFailure, {"nothing to show yet"});
}

}  // namespace
}  // namespace seer::test
