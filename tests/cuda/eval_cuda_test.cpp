// Evaluations on the GPU: in fp32 they say what the CPU's say, in bf16 nearly so. The model's head_dim is 32: bf16 attends by
// the portable kernels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/tasks/longbench.h"
#include "src/io/atomic_file.h"
#include "tests/data/tasks/task_files.h"
#include "tests/trainer/eval/eval_files.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/gates_folder.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Flags = std::vector<std::string>;

const Flags kCpu = {"--device", "cpu"};
const Flags kFp32 = {"--device", "cuda", "--precision", "fp32"};
const Flags kBf16 = {"--device", "cuda"};

Flags joined(Flags a, const Flags& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// seer-nano, gates with random weights for blocks of 64, and whatever files an evaluation asks for.
class EvalOnTheGpu : public testing::Test {
 protected:
  EvalOnTheGpu() { write_random_gates(path("gates"), nano_model(), /*block_size=*/64); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string run(const Flags& command, const Flags& device) const {
    const Flags model = {"--model", nano_model().string(), "--gates", path("gates")};
    const ProcessResult result = seer_train(joined(joined(command, model), device));
    expect_success(result);
    return result.out;
  }

  /// What a benchmark of tasks wrote for each answer.
  std::vector<Json> answers(const Flags& command, const Flags& device) const {
    const fs::path file = path("answers.jsonl");
    fs::remove(file);
    run(joined(command, {"--results", file.string()}), device);
    std::vector<Json> lines;
    for (const std::string& line : lines_of(read_text_file(file))) {
      if (!line.empty()) lines.push_back(Json::parse(line));
    }
    lines.erase(lines.begin());  // the header
    return lines;
  }

  /// The same prompts, answers and scores on both devices; in bf16 to the same prompts, most answers beginning alike.
  void expect_the_cpus_answers(const Flags& command, size_t count) const {
    const std::vector<Json> cpu = answers(command, kCpu);
    const std::vector<Json> fp32 = answers(command, kFp32);
    const std::vector<Json> bf16 = answers(command, kBf16);
    ASSERT_EQ(cpu.size(), count);
    ASSERT_EQ(fp32.size(), count);
    ASSERT_EQ(bf16.size(), count);
    size_t alike = 0;
    for (size_t n = 0; n < count; ++n) {
      constexpr size_t kBeginning = 4;  // a first token or two: later ones follow the first that differs
      alike += static_cast<size_t>(bf16[n].at("prediction").get<std::string>().substr(0, kBeginning) ==
                                   cpu[n].at("prediction").get<std::string>().substr(0, kBeginning));
      SCOPED_TRACE(cpu[n].value("contender", "") + ", " + cpu[n].value("task", ""));
      for (const char* key : {"contender", "task", "index", "prompt", "outputs"}) {
        EXPECT_EQ(fp32[n].at(key), cpu[n].at(key)) << key;
        EXPECT_EQ(bf16[n].at(key), cpu[n].at(key)) << key;
      }
      EXPECT_EQ(fp32[n].at("prediction"), cpu[n].at("prediction"));
      EXPECT_EQ(fp32[n].at("score"), cpu[n].at("score"));
      EXPECT_NEAR(fp32[n].at("density").get<double>(), cpu[n].at("density").get<double>(), 1e-6);
      EXPECT_NEAR(bf16[n].at("density").get<double>(), cpu[n].at("density").get<double>(), 1e-6);
    }
    EXPECT_GE(2 * alike, count);
  }

  TempDir folder_;
};

TEST_F(EvalOnTheGpu, AnswersTheThirteenTasksOfRuler) {
  expect_the_cpus_answers({"eval", "ruler", "--seq", "2048", "--samples", "1", "--density", "0.3", "--squad",
                           write_squad(folder_).string(), "--hotpotqa", write_hotpotqa(folder_).string(),
                           "--haystack", nano_held_out().string()},
                          2 * ruler_tasks().size());
}

TEST_F(EvalOnTheGpu, AnswersTheThirteenSetsOfLongBench) {
  fs::create_directories(path("data"));
  std::string context;
  for (int i = 0; i < 300; ++i) context += fmt::format("Word {} of a story. ", i);
  for (const LongBenchTask& task : longbench_tasks()) {
    const Json line = {{"input", "Who sailed?"},
                       {"context", context},
                       {"answers", {"Paragraph 1"}},
                       {"length", 1234},
                       {"dataset", task.name},
                       {"language", "en"},
                       {"all_classes", {"Ship", "Paragraph 1"}},
                       {"_id", "0"}};
    write_file_atomically(path("data") + "/" + std::string(task.name) + "_e.jsonl", line.dump() + "\n");
  }
  expect_the_cpus_answers(
      {"eval", "longbench", "--data", path("data"), "--max-prompt-tokens", "1500", "--density", "0.3"},
      2 * longbench_tasks().size());
}

TEST_F(EvalOnTheGpu, MeasuresTheSamePerplexity) {
  const Flags command = {"eval",        "ppl",
                         "--data",      nano_held_out().string(),
                         "--documents", "2",
                         "--seq",       "512",
                         "--density",   "0.1,0.4",
                         "--methods",   "gate,oracle,window,minmax",
                         "--json",      path("ppl.json")};
  const auto length_of = [&](const Flags& device) {
    run(command, device);
    return Json::parse(read_text_file(path("ppl.json")))["lengths"][0];
  };
  const Json cpu = length_of(kCpu);
  const auto expect_close = [&](const Json& gpu, double tolerance) {
    ASSERT_EQ(gpu["rows"].size(), cpu["rows"].size());
    const double dense = cpu["dense"]["perplexity"];
    EXPECT_NEAR(gpu["dense"]["perplexity"].get<double>(), dense, tolerance * dense);
    for (size_t n = 0; n < cpu["rows"].size(); ++n) {
      const Json& expected = cpu["rows"][n];
      const Json& actual = gpu["rows"][n];
      SCOPED_TRACE(expected["label"].get<std::string>() + " " + expected["method"].get<std::string>());
      const double perplexity = expected["perplexity"];
      EXPECT_NEAR(actual["perplexity"].get<double>(), perplexity, tolerance * perplexity);
      EXPECT_NEAR(actual["recall"].get<double>(), expected["recall"].get<double>(), tolerance);
      EXPECT_NEAR(actual["density"].get<double>(), expected["density"].get<double>(), 1e-9);
    }
  };
  expect_close(length_of(kFp32), 1e-3);
  expect_close(length_of(kBf16), 2e-2);
}

TEST_F(EvalOnTheGpu, CalibratesTheSameThresholds) {
  const auto thresholds = [&](const Flags& device) {
    fs::remove_all(path("gates"));  // with what was found before
    write_random_gates(path("gates"), nano_model(), /*block_size=*/64);
    run({"calibrate", "--data", nano_held_out().string(), "--documents", "2", "--seq", "512", "--density",
         "0.4"},
        device);
    return Json::parse(read_text_file(path("gates/config.json"))).at(kCalibratedThresholds).at("thresholds");
  };
  const Json expected = thresholds(kCpu);
  const Json actual = thresholds(kFp32);
  ASSERT_EQ(expected.size(), 4U) << "layers";
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t layer = 0; layer < expected.size(); ++layer) {
    for (size_t head = 0; head < expected[layer].size(); ++head)
      EXPECT_NEAR(actual[layer][head].get<double>(), expected[layer][head].get<double>(),
                  1e-2 * expected[layer][head].get<double>());
  }
}

TEST_F(EvalOnTheGpu, GeneratesTheSameText) {
  std::string prompt;
  for (int i = 0; i < 40; ++i)
    prompt += fmt::format("On day {} the captain looked at the sea, and then he ", i);
  const auto text = [&](const Flags& device) {
    return run({"generate", "--prompt", prompt, "--max-new-tokens", "24", "--density", "0.4"}, device);
  };
  const std::string cpu = text(kCpu);
  EXPECT_GT(cpu.size(), 10U);
  EXPECT_EQ(text(kFp32), cpu);
  EXPECT_GT(text(kBf16).size(), 10U);
}

}  // namespace
}  // namespace seer::test
