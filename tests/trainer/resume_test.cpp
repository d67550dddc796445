// Runs that are killed, stopped and continued, as real processes: the outcome must be that of a run that was
// left alone.
#include <csignal>
#include <cstring>
#include <limits>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/rng.h"
#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/metrics_log.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

bool wait_until(Process& process, const std::function<bool()>& condition) {
  while (!condition()) {
    if (process.ended()) return condition();
    std::this_thread::sleep_for(100us);
  }
  return true;
}

std::vector<std::string> command(const TinyRun& run, const std::string& name,
                                 const std::vector<std::string>& more) {
  std::vector<std::string> argv = run.arguments(name, more);
  argv.insert(argv.begin(), seer_train_binary());
  return argv;
}

/// When a life of the process ends.
enum class Kill { kAnyMoment, kInsideASave };

struct Lives {
  int kills = 0;
  int unfinished_saves = 0;  ///< Kills that left a half-written checkpoint behind
};

/// Starts the run again and again, killing it each time, until it is done or `most` kills were made; then
/// lets it finish. A life of Kill::kAnyMoment ends within `longest`.
Lives run_with_kills(const TinyRun& run, const std::string& name, const std::vector<std::string>& settings,
                     Kill when, int most, std::chrono::microseconds longest = {}) {
  const fs::path folder = run.path(name);
  const fs::path saving = folder / "checkpoints" / ".saving";
  Rng rng = Rng(5).fork(name);
  Lives lives;
  while (true) {
    std::vector<std::string> more = settings;
    if (fs::exists(folder / "config.json")) more.emplace_back("--resume");
    Process process(command(run, name, more));
    if (lives.kills < most) {
      if (when == Kill::kInsideASave) {
        // The leftover of the life before is not this life's save.
        const int saves = 1 + static_cast<int>(rng.below(3));
        for (int i = 0; i < saves; ++i) {
          if (!wait_until(process, [&] { return !fs::exists(saving); })) break;
          if (!wait_until(process, [&] { return fs::exists(saving); })) break;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(rng.below(1500)));
      } else {
        std::this_thread::sleep_for(
            std::chrono::microseconds(rng.below(static_cast<uint64_t>(longest.count()))));
      }
      process.signal(SIGKILL);
    }
    const ProcessResult result = process.wait();
    if (result.signal == 0) {
      EXPECT_EQ(result.exit_code, 0) << result.err;
      return lives;
    }
    EXPECT_EQ(result.signal, SIGKILL);
    ++lives.kills;
    if (fs::exists(saving)) ++lives.unfinished_saves;
  }
}

class Resume : public testing::TestWithParam<TinyRun::Layout> {
 protected:
  const TinyRun run_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(, Resume, testing::Values(TinyRun::Layout::kJoined, TinyRun::Layout::kPacked),
                         [](const auto& tested) {
                           return tested.param == TinyRun::Layout::kJoined ? "Joined" : "Packed";
                         });

TEST_P(Resume, KilledAtAnyMomentEndsAsIfLeftAlone) {
  const std::vector<std::string> settings = {"--set", "train.steps=20", "--set", "train.save_every=3"};
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run_.train("whole", settings).exit_code, 0);
  // Short lives, whatever the speed of this machine: four of the longest do not make a whole run.
  const auto whole = std::chrono::steady_clock::now() - start;
  const Lives lives = run_with_kills(run_, "killed", settings, Kill::kAnyMoment, 15,
                                     std::chrono::duration_cast<std::chrono::microseconds>(whole) / 4);
  EXPECT_GE(lives.kills, 3);
  expect_same_run(run_.path("whole"), run_.path("killed"));
}

TEST_P(Resume, KilledInsideSavesEndsAsIfLeftAlone) {
  const std::vector<std::string> settings = {"--set", "train.steps=20",   "--set", "train.save_every=1",
                                             "--set", "train.keep_last=3"};
  ASSERT_EQ(run_.train("whole", settings).exit_code, 0);
  const Lives lives = run_with_kills(run_, "killed", settings, Kill::kInsideASave, 15);
  EXPECT_GE(lives.kills, 5);
  EXPECT_GE(lives.unfinished_saves, 1) << "no kill hit a save";
  expect_same_run(run_.path("whole"), run_.path("killed"));
  EXPECT_THAT(files_below(run_.path("killed")), Not(Contains(HasSubstr(".saving"))));
}

/// A run long enough to be interrupted.
const std::vector<std::string> kLong = {"--set", "train.steps=40",           "--set", "train.save_every=0",
                                        "--set", "data.sequence_length=512", "--set", "eval.every=0"};

TEST_P(Resume, StopsAfterTheStepOnTheFirstSignal) {
  ASSERT_EQ(run_.train("whole", kLong).exit_code, 0);
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
    SCOPED_TRACE(number);
    const std::string name = fmt::format("stopped{}", number);
    const fs::path folder = run_.path(name);
    Process process(command(run_, name, kLong));
    ASSERT_TRUE(wait_until(process, [&] { return last_step(folder) > 0; }));
    process.signal(number);
    const ProcessResult result = process.wait();
    ASSERT_EQ(result.exit_code, 75) << result.err;
    const int64_t step = last_step(folder);
    EXPECT_THAT(result.err, HasSubstr(fmt::format("stopped after step {} of 40: checkpoint saved", step)));
    EXPECT_LT(step, 40);
    EXPECT_THAT(files_below(folder / "checkpoints"), Contains(fmt::format("step-{:08d}", step)));
    EXPECT_FALSE(fs::exists(folder / "gates")) << "gates are exported at the end";
    std::vector<std::string> again = kLong;
    again.emplace_back("--resume");
    const ProcessResult resumed = run_.train(name, again);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_THAT(resumed.err, HasSubstr(fmt::format("(step {})", step)));
    EXPECT_EQ(metrics_of(run_.path("whole")), metrics_of(folder));
    std::map<std::string, std::string> results = results_of(folder);
    results.erase(fmt::format("checkpoints/step-{:08d}/state.safetensors", step));
    results.erase(fmt::format("checkpoints/step-{:08d}/trainer_state.json", step));
    expect_same_results(results_of(run_.path("whole")), results);
  }
}

TEST(ResumeRun, StopsBeforeTheFirstStepAsWell) {
  // An evaluation of seconds ahead of the first step.
  const TinyRun run(TinyRun::Layout::kJoined, {.max_positions = 8192});
  write_npy(run.path("held_out.npy"), random_ids(2, 4096 * 16, 256));
  const std::vector<std::string> slow = {"--set", "eval.sequence_length=4096", "--set", "eval.sequences=16"};
  Process process(command(run, "run", slow));
  ASSERT_TRUE(wait_until(process, [&] { return process.error_text().find("memory") != std::string::npos; }));
  process.signal(SIGTERM);
  const ProcessResult result = process.wait();
  ASSERT_EQ(result.exit_code, 75) << result.err;
  EXPECT_THAT(result.err, HasSubstr("stopped after step 0 of 8"));
  EXPECT_EQ(last_step(run.path("run")), 0);

  const std::vector<std::string> quick = {"--set", "eval.files=[]", "--set", "eval.every=0"};
  std::vector<std::string> again = quick;
  again.emplace_back("--resume");
  ASSERT_EQ(run.train("run", again).exit_code, 0);
  ASSERT_EQ(run.train("whole", quick).exit_code, 0);
  expect_same_run(run.path("whole"), run.path("run"));
}

TEST(ResumeRun, QuitsAtOnceOnTheSecondSignal) {
  // Steps of seconds: the process must not finish one between the signals.
  const TinyRun run(TinyRun::Layout::kJoined,
                    {.layers = 4, .heads = 8, .kv_heads = 2, .max_positions = 8192});
  write_npy(run.path("tokens.npy"), random_ids(1, 4096 * 16, 256));
  const std::vector<std::string> settings = {"--set", "data.sequence_length=4096",
                                             "--set", "train.batch_size=16",
                                             "--set", "eval.files=[]",
                                             "--set", "eval.every=0"};
  Process process(command(run, "run", settings));
  // The handlers are in place before the first step, the session before its message.
  ASSERT_TRUE(wait_until(process, [&] { return process.error_text().find("memory") != std::string::npos; }));
  std::this_thread::sleep_for(50ms);
  process.signal(SIGINT);
  ASSERT_TRUE(wait_until(
      process, [&] { return process.error_text().find("again to quit at once") != std::string::npos; }));
  process.signal(SIGINT);
  const ProcessResult result = process.wait();
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_THAT(files_below(run.path("run")), Not(Contains(HasSubstr("step-"))));
}

TEST(ResumeRun, KeepsTheLastCheckpointsAlone) {
  const TinyRun run;
  ASSERT_EQ(run.train("run", {"--set", "train.save_every=1", "--set", "train.keep_last=3"}).exit_code, 0);
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(run.path("run") / "checkpoints")) {
    folders.push_back(entry.path().filename().string());
  }
  std::sort(folders.begin(), folders.end());
  EXPECT_THAT(folders, ElementsAre("step-00000006", "step-00000007", "step-00000008"));
}

TEST(ResumeRun, OfAFinishedRunExportsAgainAndChangesNothing) {
  const TinyRun run;
  ASSERT_EQ(run.train("run").exit_code, 0);
  const auto metrics = metrics_of(run.path("run"));
  const auto results = results_of(run.path("run"));
  fs::remove_all(run.path("run") / "gates" / "fine");
  fs::create_directories(run.path("run") / "gates" / "fine.tmp.4711");  // of an export that was killed
  write_file_atomically(run.path("run") / "gates" / "fine.tmp.4711" / "config.json", "{}");
  const ProcessResult again = run.train("run", {"--resume"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(metrics_of(run.path("run")), metrics);
  expect_same_results(results, results_of(run.path("run")));
}

TEST(ResumeRun, WithoutACheckpointStartsFromTheFirstStep) {
  const TinyRun run;
  ASSERT_EQ(run.train("whole").exit_code, 0);
  ASSERT_EQ(run.train("run").exit_code, 0);
  fs::remove_all(run.path("run") / "checkpoints");
  fs::remove_all(run.path("run") / "gates");
  const ProcessResult again = run.train("run", {"--resume"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("no checkpoint yet: starting from step 0"));
  expect_same_run(run.path("whole"), run.path("run"));
}

TEST(ResumeRun, NotFiniteStopsWithTheLastGoodCheckpoint) {
  // The embedding of one token is damaged, which the fifth step is the first to meet.
  constexpr int32_t kRareToken = 256;
  const TinyModel model{.vocabulary = kRareToken + 1};
  const TinyRun run(TinyRun::Layout::kJoined, model);
  std::vector<int32_t> ids = random_ids(1, 256 * 16, kRareToken);
  ids[256 * 8 + 3] = kRareToken;
  write_npy(run.path("tokens.npy"), ids);
  write_npy(run.path("held_out.npy"), random_ids(2, 256 * 2, kRareToken));
  std::vector<OwnedTensor> tensors = tiny_tensors(model);
  set_element(tensor_named(tensors, "model.embed_tokens.weight"), kRareToken * model.hidden + 5,
              std::numeric_limits<float>::quiet_NaN());
  write_model(run.model(), tiny_config_json(model), tensors);
  for (const bool resume : {false, true}) {
    std::vector<std::string> settings = {"--set", "data.shuffle=false"};
    if (resume) settings.emplace_back("--resume");
    const ProcessResult result = run.train("run", settings);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("step 5: NaN or infinity in the base model's activations of layer 0"));
    EXPECT_EQ(last_step(run.path("run")), 4);
    EXPECT_FALSE(fs::exists(run.path("run") / "gates"));
    EXPECT_THAT(files_below(run.path("run") / "checkpoints"), Contains("step-00000004/state.safetensors"));
  }
  EXPECT_EQ(
      seer_train({"export", run.path("run").string(), "--to", run.path("gates").string(), "--gate", "fine"})
          .exit_code,
      0);
}

TEST(ResumeRun, AnEvaluationThatIsCutOffIsMadeUpFor) {
  // An evaluation of seconds after steps of milliseconds.
  const TinyRun run(TinyRun::Layout::kJoined, {.max_positions = 4096});
  write_npy(run.path("held_out.npy"), random_ids(2, 2048 * 12, 256));
  const std::vector<std::string> slow = {"--set", "eval.sequence_length=2048", "--set", "eval.sequences=12",
                                         "--set", "train.save_every=0"};
  ASSERT_EQ(run.train("whole", slow).exit_code, 0);
  for (const int64_t step : {3, 8}) {  // in between, and after the last
    SCOPED_TRACE(step);
    const std::string name = fmt::format("cut{}", step);
    Process process(command(run, name, slow));
    ASSERT_TRUE(wait_until(process, [&] { return last_step(run.path(name)) == step; }));
    process.signal(SIGINT);
    const ProcessResult result = process.wait();
    ASSERT_EQ(result.exit_code, 75) << result.err;
    EXPECT_THAT(result.err, HasSubstr(fmt::format("stopped after step {} of 8: checkpoint saved", step)));
    EXPECT_NE(read_metrics(run.path(name) / "metrics.jsonl").evals.back().step, step);
    EXPECT_FALSE(fs::exists(run.path(name) / "gates"));
    std::vector<std::string> again = slow;
    again.emplace_back("--resume");
    const ProcessResult resumed = run.train(name, again);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(metrics_of(run.path("whole")), metrics_of(run.path(name)));
    std::map<std::string, std::string> results = results_of(run.path(name));
    if (step != 8) {  // a checkpoint that only the stop made
      results.erase(fmt::format("checkpoints/step-{:08d}/state.safetensors", step));
      results.erase(fmt::format("checkpoints/step-{:08d}/trainer_state.json", step));
    }
    expect_same_results(results_of(run.path("whole")), results);
  }
}

}  // namespace
}  // namespace seer::test
