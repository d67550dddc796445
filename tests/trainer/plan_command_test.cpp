// `seer-train plan`: what it promises must be what a session takes, for devices that are here and for those that are not.
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/trainer/session_runs.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/run_config.h"
#include "trainer/runtime.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// The number in the last column of a table's row.
double megabytes(const std::string& table, const std::string& row) {
  const size_t begin = table.find("\n" + row);
  if (begin == std::string::npos) {
    ADD_FAILURE() << "no row " << row << " in\n" << table;
    return 0;
  }
  const std::string line = table.substr(begin + 1, table.find('\n', begin + 1) - begin - 1);
  return std::stod(line.substr(row.size()));
}

TEST(PlanCommand, ShowsTheSessionsMemoryAndRunsNothing) {
  const TinyRun run;
  const ProcessResult result = seer_train({"plan", run.config().string(), "--gflops", "100", "--bandwidth",
                                           "10", "--set", "output.dir=" + run.path("planned").string()});
  expect_success(result);
  EXPECT_FALSE(fs::exists(run.path("planned")));
  EXPECT_THAT(result.out, AllOf(HasSubstr("layer arena"), HasSubstr("attention"), HasSubstr("adamw"),
                                HasSubstr("tokens/s"), Not(HasSubstr("does not fit"))));
  const RunConfig config = load_run_config(run.config());
  LoadedSession session(run.model(), session_options(config));
  double total = 0;
  for (const MemoryItem& item : session->memory()) {
    SCOPED_TRACE(item.what);
    EXPECT_NEAR(megabytes(result.out, item.what), static_cast<double>(item.bytes) / 1e6, 0.06);
    total += static_cast<double>(item.bytes) / 1e6;
  }
  EXPECT_NEAR(megabytes(result.out, "total"), total, 0.06);
}

TEST(PlanCommand, PlansTheLargestModelFromItsConfigAlone) {
  const TempDir folder;
  const TinyModel llama70b{.layers = 80,
                           .heads = 64,
                           .kv_heads = 8,
                           .head_dim = 128,
                           .hidden = 8192,
                           .intermediate = 28672,
                           .vocabulary = 128256,
                           .max_positions = 131072};
  fs::create_directories(folder / "model");
  write_file_atomically(folder / "model" / "config.json", tiny_config_json(llama70b));
  std::vector<std::string> arguments = {
      "plan",        (source_dir() / "configs" / "llama3.1-70b-instruct.json").string(),
      "--set",       "model.path=" + (folder / "model").string(),
      "--set",       "device=cpu",
      "--gflops",    "100000",
      "--bandwidth", "1000",
      "--memory",    "16"};
  const ProcessResult result = seer_train(arguments);
  EXPECT_EQ(result.exit_code, kFailure) << "16 GB are too few";
  EXPECT_THAT(result.out, HasSubstr("does not fit"));
  arguments.back() = "400";
  expect_success(seer_train(arguments));
  EXPECT_NEAR(megabytes(result.out, "frozen weights"), 139e3, 1e3)
      << "70.6 G parameters in bf16, but for lm_head";
  EXPECT_THAT(result.out, HasSubstr("does not fit"));
}

TEST(PlanCommand, PlansOneOfManyRanks) {
  const TinyRun run;
  const auto plan = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"plan", run.config().string(), "--gflops", "100", "--bandwidth", "10", "--set",
                               "train.batch_size=16", "--set", "data.sequence_length=1024"});
    return seer_train(more);
  };
  const ProcessResult alone = plan({});
  const ProcessResult one_of_two = plan({"--ranks", "2"});
  expect_success(alone);
  expect_success(one_of_two);
  EXPECT_THAT(one_of_two.out, HasSubstr("each of 2 ranks"));
  EXPECT_LT(megabytes(one_of_two.out, "residual streams"), megabytes(alone.out, "residual streams"));
  expect_refusal(plan({"--ranks", "3"}), kUsage,
                 {"train.batch_size is 16", "a multiple of 3", "fewer ranks"});
  expect_refusal(plan({"--ranks", "0"}), kUsage, {"1 to 65536"});
}

TEST(PlanCommand, Refuses) {
  const TinyRun run;
  expect_refusal(seer_train({"plan", run.path("none.json").string()}), kUsage, {"none.json"});
  expect_refusal(seer_train({"plan", run.config().string(), "--set", "train.stesp=1"}), kUsage,
                 {"train.stesp"});
  expect_refusal(
      seer_train({"plan", run.config().string(), "--set", "model.path=" + run.path("none").string()}),
      kFailure, {"none"});
}

#ifdef SEER_HAVE_CUDA
TEST(PlanCommand, PlansForAGpuThatIsNotHere) {
  const TempDir folder;
  const TinyModel llama8b{.layers = 32,
                          .heads = 32,
                          .kv_heads = 8,
                          .head_dim = 128,
                          .hidden = 4096,
                          .intermediate = 14336,
                          .vocabulary = 128256,
                          .max_positions = 131072};
  fs::create_directories(folder / "model");
  write_file_atomically(folder / "model" / "config.json", tiny_config_json(llama8b));
  const auto plan = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"plan",
                                          (source_dir() / "configs" / "llama3.1-8b-instruct.json").string(),
                                          "--set", "model.path=" + (folder / "model").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return seer_train(arguments);
  };
  // The published recipe: 16 sequences of 65,536 tokens a step, of 0.54 GB each.
  const ProcessResult h200 = plan({"--gpu", "h200"});
  expect_success(h200);
  EXPECT_THAT(h200.out, AllOf(HasSubstr("h200 (bf16), which is not here"), Not(HasSubstr("does not fit"))));
  EXPECT_NEAR(megabytes(h200.out, "residual streams"), 16 * 65536 * 4096e-6 * 2, 1);
  EXPECT_NEAR(megabytes(h200.out, "frozen weights"), 15e3, 1e3);
  const ProcessResult small = plan({"--gpu", "rtx4090"});
  expect_success(small);
  EXPECT_NEAR(megabytes(small.out, "residual streams"), 3 * 65536 * 4096e-6 * 2, 1)
      << "the rest is on the host";
  EXPECT_NEAR(megabytes(small.out, "host memory, pinned"), 16 * 65536 * 4096e-6 * 2, 300);
  EXPECT_THAT(plan({"--gpu", "h200", "--memory", "2"}).out, HasSubstr("does not fit"));
  expect_refusal(plan({"--gpu", "h1000"}), kUsage, {"h1000", "h100-80gb"});
  expect_refusal(plan({"--gpu", "h200", "--set", "device=cpu"}), kUsage, {"--gpu", "device=cuda"});
}
#endif

TEST(PlanCommand, SaysHowToPlanWithoutAGpu) {
  const TinyRun run;
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);  // the child sees no GPU, even where there is one
  expect_refusal(seer_train({"plan", run.config().string(), "--set", "device=cuda"}), kFailure,
                 {"--gpu", "h100-80gb"});
  ::unsetenv("CUDA_VISIBLE_DEVICES");
}

}  // namespace
}  // namespace seer::test
