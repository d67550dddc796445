// `eval ruler` and `eval longbench` as their users meet them.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "tests/trainer/eval/eval_files.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using Json = nlohmann::json;

class EvalTasks : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  ProcessResult run(const std::string& benchmark, const std::vector<std::string>& more) const {
    std::vector<std::string> command = {"eval",      benchmark, "--model", nano_model().string(),
                                        "--threads", "1"};
    if (std::find(more.begin(), more.end(), "--results") == more.end())
      command.insert(command.end(), {"--results", path("answers.jsonl")});
    command.insert(command.end(), more.begin(), more.end());
    return seer_train(command);
  }
  ProcessResult ruler(const std::vector<std::string>& more, const std::string& tasks = "vt,cwe",
                      int samples = 2) const {
    std::vector<std::string> arguments = {"--gates", path("gates"), "--seq",     "1024",
                                          "--tasks", tasks,         "--samples", std::to_string(samples)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("ruler", arguments);
  }
  std::string answers() const { return read_text_file(path("answers.jsonl")); }

  TempDir folder_;
};

TEST_F(EvalTasks, RulerIsAnsweredOnce) {
  write_random_gates(path("gates"), nano_model());
  const ProcessResult first = ruler({"--density", "0.3"});
  expect_success(first);
  EXPECT_THAT(first.err, HasSubstr("--sink-blocks 1 keeps it"));
  EXPECT_THAT(first.out, AllOf(HasSubstr("1024 tokens"), HasSubstr("dense"), HasSubstr("gate nz_ratio 0.3"),
                               HasSubstr("vt"), HasSubstr("cwe"), HasSubstr("average")));
  const std::string all = answers();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 1 + 2 * 2 * 2);
  const ProcessResult second = ruler({"--density", "0.3"});
  expect_success(second);
  EXPECT_EQ(second.out, first.out);
  EXPECT_EQ(answers(), all) << "nothing was computed again";

  // Interrupted in the second task, where the dense model alone has answered; then one task is asked for.
  size_t end = 0;
  for (int line = 0; line < 6; ++line) end = all.find('\n', end) + 1;
  write_file_atomically(path("answers.jsonl"), all.substr(0, end));
  const ProcessResult part = ruler({"--density", "0.3"}, "vt");
  expect_success(part);
  EXPECT_THAT(part.out, testing::Not(HasSubstr("cwe"))) << "not everyone's, and not asked for";
  EXPECT_EQ(answers(), all.substr(0, end));
  // The file goes on as if nothing had happened.
  const ProcessResult resumed = ruler({"--density", "0.3"});
  EXPECT_EQ(resumed.out, first.out);

  // Another density joins: the dense model's answers are there.
  expect_success(ruler({"--density", "0.3,0.4"}));
  const std::string more = answers();
  EXPECT_EQ(std::count(more.begin(), more.end(), '\n'), 1 + 2 * 2 * 3);
  expect_refusal(ruler({"--density", "0.3", "--seed", "1"}), kUsage, {"seed was 42, now 1"});
  // As do other blocks that are kept besides, under a name that says so.
  expect_success(ruler({"--density", "0.3", "--sink-blocks", "2"}, "vt"));
  EXPECT_THAT(answers(), HasSubstr("gate nz_ratio 0.3, sink 2"));
  const Json summary = Json::parse(read_text_file(path("answers.json")));
  EXPECT_EQ(summary["kind"], "task_summary");
  ASSERT_EQ(summary["contenders"].size(), 2U);
  const Json& gate = summary["contenders"][1];
  EXPECT_EQ(gate["name"], "gate nz_ratio 0.3, sink 2");
  EXPECT_EQ(gate["lengths"][0]["length"], 1024);
  EXPECT_EQ(gate["lengths"][0]["tasks"]["vt"]["samples"], 2);
  EXPECT_EQ(gate["lengths"][0]["tasks"].size(), 1U);
  EXPECT_LT(gate["lengths"][0]["density"], 1);
}

TEST_F(EvalTasks, GeneratedSamplesCanBeWrittenAndReadAgain) {
  const ProcessResult made =
      run("ruler", {"--seq", "1024", "--tasks", "cwe", "--samples", "2", "--write-samples",
                    path("samples/1024"), "--results", path("made.jsonl")});
  expect_success(made);
  const ProcessResult read =
      run("ruler", {"--seq", "1024", "--data", path("samples/1024"), "--results", path("read.jsonl")});
  expect_success(read);
  EXPECT_EQ(read.out.substr(0, read.out.find("answers:")), made.out.substr(0, made.out.find("answers:")));
}

TEST_F(EvalTasks, OtherGatesAndPromptsUnderTheSameNameAreOthers) {
  write_random_gates(path("gates"), nano_model());
  write_file_atomically(path("book.txt"), "A ship went out to sea, and came back. It rained for many days. ");
  const std::vector<std::string> flags = {"--density", "0.3", "--haystack", path("book.txt")};
  expect_success(ruler(flags, "niah_single_2", 1));
  expect_success(ruler(flags, "niah_single_2", 1));
  write_file_atomically(path("book.txt"),
                        "A ship went out to sea, and sank there. It rained for many days. ");
  expect_refusal(ruler(flags, "niah_single_2", 1), kFailure, {"sample 0 of niah_single_2", "another prompt"});

  // The same kind of gates with other weights.
  const std::string config = read_text_file(path("gates/config.json"));
  std::filesystem::remove_all(path("gates"));
  write_random_gates(path("gates"), nano_model(), /*block_size=*/16, /*seed=*/2);
  ASSERT_EQ(read_text_file(path("gates/config.json")), config);
  expect_refusal(ruler(flags, "niah_single_2", 1), kUsage, {"gates_checksum was"});
}

TEST_F(EvalTasks, TheSummaryTakesNothingsPlace) {
  const std::vector<std::string> cwe = {"--seq", "1024", "--tasks", "cwe", "--samples", "1"};
  const auto run_with = [&](std::vector<std::string> more) {
    more.insert(more.end(), cwe.begin(), cwe.end());
    return run("ruler", more);
  };
  expect_refusal(run_with({"--json", path("answers.jsonl")}), kUsage, {"would take its place"});
  expect_refusal(run_with({"--results", path("config.json")}), kUsage, {"config.json", "name it .jsonl"});
  expect_refusal(run_with({"--json", path("nowhere/x.json")}), kUsage, {"no folder", "nowhere"});
  write_file_atomically(path("config.json"), "{\"precious\": 1}");
  expect_refusal(run_with({"--results", path("config.jsonl")}), kUsage,
                 {"config.json", "holds something else"});
  EXPECT_EQ(read_text_file(path("config.json")), "{\"precious\": 1}");
  for (int i = 0; i < 2; ++i) expect_success(run_with({}));  // an earlier summary may go
  EXPECT_EQ(Json::parse(read_text_file(path("answers.json")))["kind"], "task_summary");
}

TEST_F(EvalTasks, RulersOwnFiles) {
  std::string lines;
  for (int i = 0; i < 3; ++i)
    lines +=
        Json{{"index", i}, {"input", "Name the ship."}, {"outputs", {"Pequod"}}, {"length", 9}}.dump() + "\n";
  for (const char* length : {"256", "512"}) {
    std::filesystem::create_directories(path(std::string("data/") + length));
    write_file_atomically(path(std::string("data/") + length + "/vt.jsonl"), lines);
  }
  const std::vector<std::string> both = {"--seq", "256,512", "--data", path("data")};
  const ProcessResult result = run("ruler", both);
  expect_success(result);
  EXPECT_THAT(result.out, AllOf(HasSubstr("256 tokens"), HasSubstr("512 tokens"), ContainsRegex("vt +3")));
  EXPECT_THAT(result.out, testing::Not(HasSubstr("cwe"))) << "has no file";
  expect_success(run("ruler", {"--seq", "256", "--data", path("data/256"), "--samples", "2", "--results",
                               path("two.jsonl")}));
  const std::string two = read_text_file(path("two.jsonl"));
  EXPECT_EQ(std::count(two.begin(), two.end(), '\n'), 1 + 2);
  expect_refusal(run("ruler", {"--data", path("data/256"), "--seed", "1"}), kUsage, {"--data", "complete"});
  expect_refusal(run("ruler", {"--data", path("data/256"), "--write-samples", path("again")}), kUsage,
                 {"--data", "--write-samples"});
  expect_refusal(run("ruler", {"--tasks", "cwe", "--seq", "1024", "--template", "llama"}), kUsage,
                 {"\"llama\"", "meta-llama3"});
  expect_refusal(run("ruler", {"--data", path("data")}), kFailure,
                 {"no file of a RULER task", "data/vt.jsonl"});
  std::filesystem::remove(path("data/512/vt.jsonl"));
  expect_refusal(run("ruler", both), kFailure,
                 {"vt is left out", "no file of 512 tokens", "data/256/vt.jsonl"});
}

TEST_F(EvalTasks, LastRowsAreKeptAsTheGatesConfigSaysByAllMethods) {
  write_random_gates(path("gates"), nano_model());
  Json config = Json::parse(read_text_file(path("gates/config.json")));
  config["seerattn_last_block_dense"] = true;
  write_file_atomically(path("gates/config.json"), config.dump());
  const ProcessResult result =
      ruler({"--density", "0.3", "--methods", "gate,window", "--no-dense"}, "cwe", 1);
  expect_success(result);
  EXPECT_THAT(result.out, AllOf(HasSubstr("gate nz_ratio 0.3, dense rows 2"),
                                HasSubstr("window nz_ratio 0.3, dense rows 2")));
}

TEST_F(EvalTasks, RulersOwnFilesMayBeLongerThanTheirLengthHere) {
  std::string lines;
  for (const char* word : {" captain", "~^|"}) {  // as many bytes, 1,100 tokens and 4 times as many
    std::string input = "Name the ship.";
    while (input.size() < 9000) input += word;
    lines += Json{{"index", 0}, {"input", input}, {"outputs", {"Pequod"}}, {"length", 9}}.dump() + "\n";
  }
  std::filesystem::create_directories(path("long"));
  write_file_atomically(path("long/vt.jsonl"), lines);
  expect_success(run("ruler", {"--seq", "256", "--data", path("long")}));
}

TEST_F(EvalTasks, AnotherCalibrationIsAnotherContender) {
  write_random_gates(path("gates"), nano_model());
  const auto calibrate = [&](const char* density) {
    expect_success(seer_train({"calibrate", "--model", nano_model().string(), "--gates", path("gates"),
                               "--threads", "1", "--data", nano_held_out().string(), "--documents", "1",
                               "--seq", "256", "--density", density}));
  };
  const auto lines = [&] {
    const std::string text = answers();
    return std::count(text.begin(), text.end(), '\n');
  };
  const std::vector<std::string> flags = {"--calibrated", "--no-dense"};
  calibrate("0.3");
  expect_success(ruler(flags, "vt", 1));
  expect_success(ruler(flags, "vt", 1));
  EXPECT_EQ(lines(), 1 + 1);
  calibrate("0.6");
  expect_success(ruler(flags, "vt", 1));
  EXPECT_EQ(lines(), 1 + 2) << "other thresholds have another name";
  expect_success(ruler({"--density", "0.5", "--no-dense"}, "vt", 1));
  EXPECT_EQ(lines(), 1 + 3) << "and others may join";
}

TEST_F(EvalTasks, RulerRefuses) {
  expect_refusal(run("ruler", {"--no-dense", "--seq", "1024", "--tasks", "cwe"}), kUsage, {"nothing to run"});
  expect_refusal(run("ruler", {"--methods", "window", "--seq", "1024", "--tasks", "cwe"}), kUsage,
                 {"method window needs a --density", "--density"});
  expect_refusal(run("ruler", {"--methods", "windows", "--seq", "512"}), kUsage, {"windows"});
  expect_refusal(run("ruler", {"--seq", "512", "--tasks", "vtt"}), kUsage, {"vtt"});
  expect_refusal(run("ruler", {"--seq", "1024,130", "--tasks", "cwe"}), kFailure,
                 {"cwe", "does not fit in 130"});
  // What needs no model is said before one is loaded: here there is none.
  std::filesystem::create_directories(path("empty"));
  const auto without_model = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command = {"eval",        "ruler",     "--model",
                                        path("empty"), "--results", path("none.jsonl")};
    command.insert(command.end(), more.begin(), more.end());
    return seer_train(command);
  };
  expect_refusal(without_model({"--tasks", "vt,qa_1"}), kUsage, {"qa_1", "--squad"});
  expect_refusal(without_model({"--tasks", "niah_single_2"}), kUsage, {"niah_single_2", "--haystack"});
  expect_refusal(without_model({"--haystack", path("absent.txt")}), kFailure, {"absent.txt"});
  expect_refusal(without_model({"--squad", path("absent.json")}), kFailure, {"qa_1", "absent.json"});
  expect_refusal(without_model({"--tasks", "vt", "--seq", "4096,20"}), kUsage, {"vt", "20 leaves nothing"});
  expect_refusal(without_model({"--tasks", "vt", "--data", path("empty")}), kFailure, {"vt.jsonl"});
  const TinyRun tiny;
  expect_refusal(
      seer_train({"eval", "ruler", "--model", tiny.model().string(), "--results", path("none.jsonl")}),
      kFailure, {"no tokenizer.json"});
}

TEST_F(EvalTasks, LongBenchByLength) {
  std::filesystem::create_directories(path("data"));
  std::string lines;
  for (const int length : {1234, 5678}) {
    std::string context;
    for (int i = 0; i < 300; ++i) context += fmt::format("Word {} of a story. ", i);
    lines += Json{{"input", "Who?"},     {"context", context}, {"answers", {"a ship"}},  {"length", length},
                  {"dataset", "qasper"}, {"language", "en"},   {"all_classes", nullptr}, {"_id", "0"}}
                 .dump() +
             "\n";
  }
  write_file_atomically(path("data/qasper_e.jsonl"), lines);
  const std::vector<std::string> flags = {
      "--data",  path("data"), "--methods",           "window", "--density", "0.5",
      "--block", "16",         "--max-prompt-tokens", "300"};
  const ProcessResult first = run("longbench", flags);
  expect_success(first);
  EXPECT_THAT(first.out, AllOf(HasSubstr("window nz_ratio 0.5"), HasSubstr("0-4k"), HasSubstr("qasper"),
                               HasSubstr("density 1.0000")));
  const std::string all = answers();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 1 + 2 * 2);
  EXPECT_EQ(run("longbench", flags).out, first.out);
  EXPECT_EQ(answers(), all);

  expect_refusal(run("ruler", {"--seq", "2048", "--tasks", "cwe"}), kUsage,
                 {"answers.jsonl", "other results"});
  std::filesystem::create_directories(path("empty"));
  expect_refusal(run("longbench", {"--data", path("empty")}), kFailure, {"empty"});
}

TEST_F(EvalTasks, AnAnswerOfSamsumIsOneLine) {
  std::filesystem::create_directories(path("data"));
  write_file_atomically(path("data/samsum_e.jsonl"),
                        Json{{"input", "Dialogue: A: Hello.\n"},
                             {"context", "Dialogue: B: Hi.\nSummary: B greets.\n"},
                             {"answers", {"A greets."}},
                             {"length", 10},
                             {"dataset", "samsum"},
                             {"language", "en"},
                             {"all_classes", nullptr},
                             {"_id", "0"}}
                                .dump() +
                            "\n");
  expect_success(run("longbench", {"--data", path("data"), "--max-prompt-tokens", "300"}));
  const std::string text = answers();
  const Json answer = Json::parse(text.substr(text.find('\n') + 1));
  EXPECT_FALSE(answer["prediction"].get<std::string>().empty());
  EXPECT_EQ(answer["prediction"].get<std::string>().find('\n'), std::string::npos);
  const Json summary = Json::parse(read_text_file(path("answers.json")));
  EXPECT_EQ(summary["contenders"][0]["tasks"]["samsum"]["0-4k"]["samples"], 1);
  EXPECT_TRUE(summary["contenders"][0]["tasks"]["samsum"]["8k+"]["score"].is_null());
}

TEST_F(EvalTasks, LongBenchNeedsRoomForAnswers) {
  const TinyRun tiny(TinyRun::Layout::kJoined, {.max_positions = 400});
  write_file_atomically(path("qasper_e.jsonl"), "{}\n");
  expect_refusal(seer_train({"eval", "longbench", "--model", tiny.model().string(), "--results",
                             path("none.jsonl"), "--data", path("")}),
                 kUsage, {"400 positions", "--max-prompt-tokens"});
}

}  // namespace
}  // namespace seer::test
