// `seer-train bench`: what it refuses, and that it measures.
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/trainer/eval/eval_files.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kNano = source_dir() / "configs" / "quickstart" / "seer-nano";

const auto kNoGpu = AnyOf(HasSubstr("no CUDA backend"), HasSubstr("no NVIDIA driver"),
                          HasSubstr("update the driver"), HasSubstr("no usable GPU"));

TEST(BenchCommand, RefusesBeforeItMeasures) {
  const TempDir folder;
  expect_refusal(seer_train({"bench", "cpu", "--repeats", "0"}), kUsage, {"--repeats"});
  expect_refusal(seer_train({"bench", "cpu", "--threads", "-1"}), kUsage, {"--threads"});
  expect_refusal(seer_train({"bench", "cpu", "--model", (folder / "none").string()}), kFailure, {"none"});
}

TEST(BenchCommand, RefusesGpuOptionsBeforeItLooksForAGpu) {
  expect_refusal(seer_train({"bench", "attention", "--seq", "8192,0"}), kUsage, {"--seq"});
  expect_refusal(seer_train({"bench", "attention", "--block", "48"}), kUsage, {"--block"});
  expect_refusal(seer_train({"bench", "decode", "--seq", "8192,0"}), kUsage, {"--seq"});
  expect_refusal(seer_train({"bench", "gemm", "--model-config", "/no/such/config.json"}), kUsage,
                 {"--model-config"});
  expect_refusal(seer_train({"bench", "step", "--gates", "17"}), kUsage, {"--gates"});
  expect_refusal(seer_train({"bench", "sparse", "--density", "0.1,0"}), kUsage, {"--density", "above 0"});
}

/// What `bench sparse` is told to take its lists from, in a scratch folder.
class BenchOfGates : public testing::Test {
 protected:
  BenchOfGates() {
    write_random_gates(gates_, kNano);
    write_file_atomically(text_, "Call me Ishmael.\n");
  }

  ProcessResult bench(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"bench", "sparse"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return seer_train(arguments);
  }
  ProcessResult bench_of_all(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"--model",       kNano.string(), "--gates",
                                          gates_.string(), "--data",       text_.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return bench(arguments);
  }

  const TempDir folder_;
  const fs::path gates_ = folder_ / "gates";
  const fs::path text_ = folder_ / "text.txt";
};

TEST_F(BenchOfGates, RefusesFlagsThatSayNothingAlone) {
  const std::string together = "--model, --gates and --data belong together";
  expect_refusal(bench({"--model", kNano.string()}), kUsage, {"--gates is missing", together});
  expect_refusal(bench({"--model", kNano.string(), "--gates", gates_.string()}), kUsage,
                 {"--data is missing", together});
  expect_refusal(bench({"--data", text_.string()}), kUsage, {"--model is missing", together});
  expect_refusal(bench({"--layers", "0"}), kUsage, {"--layers are a model's", "--model, --gates and --data"});
  for (const char* layers : {"1", "2"}) {
    expect_refusal(bench({"--layers-at-once", layers}), kUsage,
                   {"--layers-at-once", "--model, --gates and --data"});
  }
}

TEST_F(BenchOfGates, RefusesWhatTheModelAndItsGatesSay) {
  for (const char* flag : {"--heads", "--kv-heads", "--head-dim", "--block"}) {
    SCOPED_TRACE(flag);
    expect_refusal(bench_of_all({flag, "64"}), kUsage, {std::string(flag) + ":", "leave it out"});
  }
}

TEST_F(BenchOfGates, RefusesPathsThatAreNotThere) {
  const std::string none = (folder_ / "none").string();
  for (const char* flag : {"--model", "--gates", "--data"}) {
    SCOPED_TRACE(flag);
    expect_refusal(bench({flag, none}), kUsage, {flag, none});
  }
}

#ifdef SEER_HAVE_CUDA
TEST_F(BenchOfGates, RefusesBeforeItLooksForAGpu) {
  expect_refusal(bench_of_all({"--layers", "0,4"}), kUsage, {"--layers 4", "0 to 3"});
  expect_refusal(bench_of_all({"--layers", "-1"}), kUsage, {"--layers"});
  expect_refusal(bench_of_all({"--layers", "0,1,0"}), kUsage, {"layer 0 is named more than once"});
  expect_refusal(bench_of_all({"--layers-at-once", "3"}), kUsage, {"--layers-at-once 3", "4 layers"});
  expect_refusal(bench_of_all({"--layers-at-once", "2", "--layers", "1"}), kUsage,
                 {"--layers-at-once 2", "1 layers"});
  expect_refusal(bench_of_all({"--seq", "1"}), kUsage, {"--seq 1", "at least 2"});
  expect_refusal(bench_of_all({}), kFailure,
                 {"--seq 4096", "a longer text or a smaller --seq"});  // its context
  const auto tokens =
      seer_train({"tokenize", "--tokenizer", kNano.string(), "--count", "Call me Ishmael.\n"});
  expect_success(tokens);
  expect_refusal(
      bench_of_all({"--seq", "16,4096"}), kFailure,
      {"--seq 4096", text_.string(), "have " + tokens.out.substr(0, tokens.out.find('\n')) + " tokens"});
}
#endif

TEST_F(BenchOfGates, SaysThatThereIsNoGpu) {
  const fs::path report = folder_ / "report.json";
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);
  const ProcessResult result = bench_of_all({"--seq", "4", "--layers", "1,3", "--json", report.string()});
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  expect_refusal(result, kFailure, {});
  EXPECT_THAT(result.err, kNoGpu);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_FALSE(fs::exists(report));
}

TEST(BenchCommand, SaysHowToStartSeveralRanks) {
  expect_refusal(seer_train({"bench", "comm", "--device", "cpu"}), kUsage, {"--ranks N --device cpu"});
  expect_refusal(seer_train({"bench", "comm", "--ranks", "2"}), kUsage, {"--device cpu"});
  expect_refusal(seer_train({"bench", "comm", "--ranks", "0"}), kUsage, {"1 to 65536"});
  expect_refusal(seer_train({"bench", "ranks", "--modes", "alone,sharded"}), kUsage, {"--modes"});
}

TEST(BenchCommand, RefusesAReportThatCannotBeWrittenBeforeItMeasures) {
  const TempDir folder;
  const std::string report = (folder / "none" / "report.json").string();
  for (const char* bench : {"attention", "sparse", "decode", "gemm", "step", "ranks", "comm"}) {
    SCOPED_TRACE(bench);
    expect_refusal(seer_train({"bench", bench, "--json", report}), kUsage, {"--json", "no folder"});
  }
}

TEST(BenchCommand, SaysWhatAGpuBenchLacks) {
  const TempDir folder;
  const fs::path report = folder / "report.json";
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);  // the child sees no GPU, even where there is one
  for (const char* bench : {"attention", "sparse", "decode", "gemm", "step"}) {
    SCOPED_TRACE(bench);
    const ProcessResult result = seer_train({"bench", bench, "--json", report.string()});
    expect_refusal(result, kFailure, {std::string("bench ") + bench});
    EXPECT_THAT(result.err, kNoGpu);
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_FALSE(fs::exists(report));
  }
  ::unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST(BenchCommand, MeasuresATokenizer) {
  const TempDir folder;
  std::string text;
  for (int i = 0; i < 2000; ++i) text += fmt::format("Call me Ishmael, {} years ago.\n", i);
  write_file_atomically(folder / "text.txt", text);
  const ProcessResult result = seer_train({"bench", "tokenizer", "--tokenizer", kNano.string(), "--text",
                                           (folder / "text.txt").string(), "--repeats", "1"});
  expect_success(result);
  EXPECT_THAT(result.out, HasSubstr("MB/s"));
  expect_refusal(seer_train({"bench", "tokenizer", "--tokenizer", kNano.string(), "--text",
                             (folder / "none.txt").string()}),
                 kUsage, {"none.txt"});
}

}  // namespace
}  // namespace seer::test
