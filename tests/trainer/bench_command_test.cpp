// `seer-train bench`: what it refuses, and that it measures.
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kNano = source_dir() / "configs" / "quickstart" / "seer-nano";

TEST(BenchCommand, RefusesBeforeItMeasures) {
  const TempDir folder;
  expect_refusal(seer_train({"bench", "cpu", "--repeats", "0"}), kUsage, {"--repeats"});
  expect_refusal(seer_train({"bench", "cpu", "--threads", "-1"}), kUsage, {"--threads"});
  expect_refusal(seer_train({"bench", "cpu", "--model", (folder / "none").string()}), kFailure, {"none"});
}

TEST(BenchCommand, RefusesGpuOptionsBeforeItLooksForAGpu) {
  expect_refusal(seer_train({"bench", "attention", "--seq", "8192,0"}), kUsage, {"--seq"});
  expect_refusal(seer_train({"bench", "attention", "--block", "48"}), kUsage, {"--block"});
  expect_refusal(seer_train({"bench", "gemm", "--model-config", "/no/such/config.json"}), kUsage,
                 {"--model-config"});
  expect_refusal(seer_train({"bench", "step", "--gates", "17"}), kUsage, {"--gates"});
}

TEST(BenchCommand, SaysHowToStartSeveralRanks) {
  expect_refusal(seer_train({"bench", "comm", "--device", "cpu"}), kUsage, {"--ranks N --device cpu"});
  expect_refusal(seer_train({"bench", "comm", "--ranks", "2"}), kUsage, {"--device cpu"});
  expect_refusal(seer_train({"bench", "comm", "--ranks", "0"}), kUsage, {"1 to 65536"});
  expect_refusal(seer_train({"bench", "ranks", "--modes", "alone,sharded"}), kUsage, {"--modes"});
}

TEST(BenchCommand, SaysWhatAGpuBenchLacks) {
  const TempDir folder;
  const fs::path report = folder / "report.json";
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);  // the child sees no GPU, even where there is one
  for (const char* bench : {"attention", "gemm", "step"}) {
    SCOPED_TRACE(bench);
    const ProcessResult result = seer_train({"bench", bench, "--json", report.string()});
    expect_refusal(result, kFailure, {});
    EXPECT_THAT(result.err, AnyOf(HasSubstr("no CUDA backend"), HasSubstr("no NVIDIA driver"),
                                  HasSubstr("update the driver"), HasSubstr("no usable GPU")));
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
