// Trainings of several processes that are asked to stop: all end after the same step, and whatever number of ranks goes
// on, the outcome is that of a run left alone.
#include <csignal>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/trainer/rank_runs.h"
#include "trainer/metrics_log.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;

/// Steps enough to be interrupted, over several epochs of the data; checkpoints where a signal asks for one.
const Strings kLong = sets({"train.steps=40", "train.save_every=0", "eval.every=0", "eval.sequences=1"});

/// A run that was stopped after some step and continued: all it computed, but for the checkpoint of the stop.
void expect_same_but_for_step(const fs::path& expected, const fs::path& actual, int64_t step) {
  EXPECT_EQ(metrics_of(expected), metrics_of(actual));
  std::map<std::string, std::string> results = results_of(actual);
  for (const char* file : {"state.safetensors", "trainer_state.json"})
    results.erase(fmt::format("checkpoints/step-{:08d}/{}", step, file));
  expect_same_results(results_of(expected), results);
}

class RanksResume : public testing::Test {
 protected:
  void run_alone(const Strings& settings = kLong) {
    expect_success(train_on_ranks(run_, "alone", 0, settings));
  }

  /// Starts a run of so many ranks, asks it to stop once `ready`, by a signal to those that `targets` returns, and gives
  /// back the step after which it stopped.
  int64_t stop(const std::string& name, int ranks, int number,
               const std::function<std::vector<pid_t>(const Process&)>& targets,
               const std::function<bool(const fs::path&)>& ready, const Strings& settings = kLong) {
    const fs::path folder = run_.path(name);
    Process launcher(train_command(run_, name, ranks, settings));
    EXPECT_TRUE(wait_until(launcher, [&] { return ready(folder); }));
    for (const pid_t pid : targets(launcher)) ::kill(pid, number);
    const ProcessResult result = launcher.wait();
    EXPECT_EQ(result.exit_code, 75) << result.err;
    const int64_t step = last_step(folder);
    EXPECT_THAT(result.err, HasSubstr(fmt::format("stopped after step {} of ", step)));
    EXPECT_THAT(files_below(folder / "checkpoints"),
                Contains(fmt::format("step-{:08d}/state.safetensors", step)));
    EXPECT_FALSE(fs::exists(folder / "gates")) << "gates are exported at the end";
    return step;
  }

  void resume(const std::string& name, int ranks, int64_t step, const Strings& settings = kLong) {
    Strings more = settings;
    more.emplace_back("--resume");
    const ProcessResult resumed = train_on_ranks(run_, name, ranks, more);
    expect_success(resumed);
    EXPECT_THAT(resumed.err, HasSubstr(fmt::format("(step {})", step)));
    expect_same_but_for_step(run_.path("alone"), run_.path(name), step);
  }

  static bool in_the_middle(const fs::path& folder) { return last_step(folder) >= 3; }
  static std::vector<pid_t> the_launcher(const Process& launcher) { return {launcher.pid()}; }

  const TinyRun run_;
};

/// Losses that are equal line by line say that no sequence came twice and none was left out.
TEST_F(RanksResume, OnAnyNumberOfRanks) {
  run_alone();
  for (const int before : {1, 4}) {
    const std::string stopped = fmt::format("stopped{}", before);
    const int64_t step = stop(stopped, before, SIGTERM, the_launcher, in_the_middle);
    EXPECT_LT(step, 40);
    for (const int after : before == 1 ? std::vector{2} : std::vector{1, 2, 4}) {
      SCOPED_TRACE(fmt::format("{} ranks, then {}", before, after));
      const std::string name = fmt::format("{}-{}", stopped, after);
      fs::copy(run_.path(stopped), run_.path(name), fs::copy_options::recursive);
      resume(name, after, step);
    }
  }
}

TEST_F(RanksResume, AllStopWhoeverIsAsked) {
  run_alone();
  struct Case {
    const char* name;
    int signal;
    std::function<std::vector<pid_t>(const Process&)> targets;
  };
  const auto rank = [](int number) {
    return [number](const Process& launcher) { return std::vector{pid_of_rank(launcher, number)}; };
  };
  // As Slurm does at the end of a job's time: every process, and what the launcher passes on comes on top.
  const auto everybody = [](const Process& launcher) {
    return std::vector{pid_of_rank(launcher, 0), pid_of_rank(launcher, 1), launcher.pid()};
  };
  for (const auto& [name, signal, targets] :
       {Case{"launcher-usr1", SIGUSR1, the_launcher}, Case{"launcher-int", SIGINT, the_launcher},
        Case{"rank1-term", SIGTERM, rank(1)}, Case{"rank0-usr1", SIGUSR1, rank(0)},
        Case{"everybody-term", SIGTERM, everybody}}) {
    SCOPED_TRACE(name);
    const int64_t step = stop(name, 2, signal, targets, in_the_middle);
    resume(name, 2, step);
  }
}

TEST_F(RanksResume, AnEvaluationIsCutOffOnAllRanks) {
  // Sequences enough for an evaluation of a second after steps of milliseconds.
  write_npy(run_.path("held_out.npy"), random_ids(2, 1024 * 32, 256));
  const Strings slow =
      sets({"eval.sequence_length=1024", "eval.sequences=32", "train.save_every=0", "train.steps=4"});
  run_alone(slow);
  const int64_t step = stop(
      "cut", 4, SIGINT, the_launcher, [](const fs::path& folder) { return last_step(folder) == 3; }, slow);
  EXPECT_EQ(step, 3);
  EXPECT_EQ(read_metrics(run_.path("cut") / "metrics.jsonl").evals.back().step, 0) << "it was not cut off";
  resume("cut", 2, step, slow);
}

/// Before the first step all the same: the checkpoint is that of step 0.
TEST_F(RanksResume, FromBeforeTheFirstStep) {
  write_npy(run_.path("held_out.npy"), random_ids(2, 1024 * 32, 256));
  const Strings slow = sets({"eval.sequence_length=1024", "eval.sequences=32", "train.save_every=0",
                             "train.steps=3", "eval.every=0"});
  run_alone(slow);
  const int64_t step = stop(
      "early", 2, SIGTERM, [](const Process& launcher) { return std::vector{pid_of_rank(launcher, 1)}; },
      [](const fs::path& folder) { return fs::exists(folder / "metrics.jsonl"); }, slow);
  EXPECT_EQ(step, 0);
  resume("early", 1, step, slow);
}

TEST_F(RanksResume, ASecondSignalQuitsAtOnce) {
  // A first step has ended, so the second is under way: it takes seconds, and only its end looks at the first signal.
  const TinyRun run(TinyRun::Layout::kJoined, {.layers = 4, .heads = 8, .max_positions = 4096});
  write_npy(run.path("tokens.npy"), random_ids(1, 4096 * 12, 256));
  const Strings slow = sets({"data.sequence_length=4096", "train.steps=3", "eval.every=0",
                             "eval.sequence_length=256", "train.save_every=0"});
  Process launcher(train_command(run, "run", 2, slow));
  ASSERT_TRUE(wait_until(launcher, [&] { return last_step(run.path("run")) == 1; })) << launcher.error_text();
  launcher.signal(SIGINT);
  ASSERT_TRUE(wait_until(
      launcher, [&] { return launcher.error_text().find("again to quit at once") != std::string::npos; }));
  launcher.signal(SIGINT);
  const ProcessResult result = launcher.wait();
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_EQ(files_below(run.path("run") / "checkpoints"), Strings());
}

}  // namespace
}  // namespace seer::test
