// The launcher with real processes: tests/ranks/rank_helper.cpp in place of seer-train.
#include "trainer/launcher.h"

#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/ranks/socket.h"
#include "tests/ranks/forked_rank.h"
#include "tests/support/fixtures.h"
#include "tests/support/process.h"
#include "trainer/launch_flags.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using Strings = std::vector<std::string>;

LaunchPlan plan_of(const fs::path& folder, int ranks, const Strings& actions) {
  LaunchPlan plan;
  plan.program = SEER_RANK_HELPER;
  plan.command = {"rank_helper", folder.string()};
  plan.command.insert(plan.command.end(), actions.begin(), actions.end());
  plan.ranks = ranks;
  plan.run_folder = folder;
  plan.grace = milliseconds(1500);
  return plan;
}

/// The launcher in a process of its own: rank 0 writes to its standard error, too.
ForkedRank start(const LaunchPlan& plan) {
  return ForkedRank([&plan] {
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    return launch(plan);
  });
}

std::string log_of(const fs::path& folder, int rank) {
  return read_text_file(folder / "logs" / fmt::format("rank-{}.log", rank));
}

void wait_for_file(const fs::path& path, const std::string& text) {
  for (int i = 0; i < 2000; ++i) {
    if (fs::exists(path) && fs::file_size(path) > 0 && read_text_file(path).find(text) != std::string::npos)
      return;
    std::this_thread::sleep_for(milliseconds(5));
  }
  FAIL() << path << " never held " << text;
}

/// Pids of the launcher's children, by rank, once all have printed their line.
std::vector<pid_t> children_of(pid_t launcher, size_t count) {
  std::vector<pid_t> pids;
  std::ifstream file(fmt::format("/proc/{0}/task/{0}/children", launcher));
  for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
  EXPECT_EQ(pids.size(), count);
  return pids;
}

TEST(Launcher, RunsAllRanks) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 3, {"make-run", "lines:20000"});
  plan.gpus = {0, 2, 5};
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 0) << launcher.said();
  EXPECT_THAT(launcher.said(),
              HasSubstr("rank 0 of 3, local 0 of 3, nodes 1, by seer-train's launcher, gpu 0, resume 0: 0@"));
  EXPECT_THAT(launcher.said(), Not(HasSubstr("rank 1 of 3")));
  for (const int rank : {1, 2}) {
    const std::string log = log_of(folder / "run", rank);
    EXPECT_THAT(log, StartsWith("== "));
    EXPECT_THAT(
        log, HasSubstr(fmt::format("rank {} of 3, local {} of 3, nodes 1, by seer-train's launcher, gpu {}",
                                   rank, rank, plan.gpus[rank])));
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 20002);
    EXPECT_THAT(log, HasSubstr(fmt::format("line 19999 of rank {}\n", rank)));
  }
  EXPECT_FALSE(fs::exists(folder / "run/logs/rank-0.log"));
}

TEST(Launcher, VerboseShowsAllRanks) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 2, {});
  plan.verbose = true;
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 0) << launcher.said();
  EXPECT_THAT(launcher.said(), AllOf(HasSubstr("rank 0 of 2"), HasSubstr("[rank 1] rank 1 of 2")));
  // No rank made the folder, so the launcher did not either.
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST(Launcher, OneRankIsAlone) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 1, {});
  plan.gpus = {3};
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 0) << launcher.said();
  EXPECT_THAT(launcher.said(),
              HasSubstr("rank 0 of 1, local 0 of 1, nodes 1, by seer-train's launcher, gpu 3"));
}

TEST(Launcher, PassesSignalsOn) {
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
    const TempDir folder;
    const LaunchPlan plan = plan_of(folder / "run", 3, {"make-run", "wait"});
    ForkedRank launcher = start(plan);
    launcher.wait_for("rank 0 of 3");
    launcher.signal(number);
    EXPECT_EQ(launcher.wait(), 75) << launcher.said();
  }
}

TEST(Launcher, NamesARankThatFailed) {
  const TempDir folder;
  const LaunchPlan plan = plan_of(folder / "run", 3, {"make-run", "exit:2:1"});
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 1);
  EXPECT_THAT(
      launcher.said(),
      ContainsRegex("seer-train: rank 2 \\(pid [0-9]+\\) exited with code 1: seer-train: told to fail "
                    "\\(its log: .*/run/logs/rank-2.log\\)\n"));
  EXPECT_THAT(launcher.said(), HasSubstr("seer-train: rank 0: ended because rank 2"));
  EXPECT_THAT(log_of(folder / "run", 1),
              AllOf(HasSubstr("seer-train: rank 1: ended because rank 2"), HasSubstr("failed: told to\n")));
}

TEST(Launcher, NamesARankThatWasKilled) {
  for (const int victim : {0, 1}) {
    const TempDir folder;
    const LaunchPlan plan = plan_of(folder / "run", 3, {"make-run", fmt::format("signal:{}:9", victim)});
    ForkedRank launcher = start(plan);
    EXPECT_EQ(launcher.wait(), 1);
    EXPECT_THAT(
        launcher.said(),
        ContainsRegex(fmt::format(
            "seer-train: rank {} \\(pid [0-9]+\\) was ended by SIGKILL \\(Killed\\) \\(its ", victim)));
    EXPECT_THAT(log_of(folder / "run", 2), HasSubstr(fmt::format("ended because rank {}", victim)));
  }
}

TEST(Launcher, KillsARankThatIsStopped) {
  const TempDir folder;
  const LaunchPlan plan = plan_of(folder / "run", 3, {"make-run", fmt::format("signal:1:{}", SIGSTOP)});
  const auto before = Clock::now();
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 1);
  EXPECT_LT(Clock::now() - before, seconds(15));
  EXPECT_THAT(launcher.said(), ContainsRegex("seer-train: rank 1 \\(pid [0-9]+\\) was stopped or stuck: it "
                                             "did not end after the others and was killed \\(its log"));
}

TEST(Launcher, UsageErrorsAreSaidOnceAndNotRepeated) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 2, {});
  plan.command.resize(1);  // rank_helper without arguments: usage
  plan.max_restarts = 3;
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 2);
  EXPECT_EQ(launcher.said(), "");
}

TEST(Launcher, WithoutALogItShowsTheLastLines) {
  const TempDir folder;
  const LaunchPlan plan = plan_of(folder / "run", 2, {"lines:50", "exit:1:7"});
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 1);
  EXPECT_THAT(launcher.said(),
              AllOf(HasSubstr("exited with code 7: seer-train: told to fail\n"),
                    HasSubstr("[rank 1] line 49 of rank 1\n"),
                    HasSubstr("[rank 1] seer-train: told to fail\n"), Not(HasSubstr("line 29 of rank 1\n"))));
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST(Launcher, RestartsFromTheRun) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 2, {"make-run", "first-start", "signal:1:9"});
  plan.max_restarts = 2;
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 0) << launcher.said();
  EXPECT_THAT(launcher.said(), AllOf(HasSubstr("resume 0"),
                                     HasSubstr("seer-train: restart 1 of 2, from the newest checkpoint\n"),
                                     HasSubstr("resume 1"), Not(HasSubstr("restart 2"))));
  EXPECT_THAT(log_of(folder / "run", 1), AllOf(HasSubstr(", restart 0\n"), HasSubstr(", restart 1\n")));
}

TEST(Launcher, GivesUpAfterTheLastRestart) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 2, {"exit:all:1"});
  plan.max_restarts = 2;
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 1);
  EXPECT_THAT(launcher.said(),
              AllOf(HasSubstr("restart 2 of 2, from the beginning"), Not(HasSubstr("restart 3"))));
}

TEST(Launcher, DoesNotRestartWhatWasAskedToStop) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 2, {"make-run", "deaf", "wait"});
  plan.max_restarts = 2;
  ForkedRank launcher = start(plan);
  launcher.wait_for("rank 0 of 2");
  wait_for_file(folder / "run/logs/rank-1.log", "rank 1 of 2");
  launcher.signal(SIGTERM);
  ::kill(children_of(launcher.pid(), 2)[1], SIGKILL);
  EXPECT_EQ(launcher.wait(), 1);
  EXPECT_THAT(launcher.said(), Not(HasSubstr("restart")));
}

TEST(Launcher, AnotherRunsFolderStaysAsItIs) {
  const TempDir folder;
  std::ofstream(folder / "config.json") << "{}";
  const LaunchPlan plan = plan_of(folder.path(), 2, {});
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 0) << launcher.said();
  EXPECT_FALSE(fs::exists(folder / "logs"));
}

TEST(Launcher, RanksDieWithIt) {
  const TempDir folder;
  const LaunchPlan plan = plan_of(folder / "run", 2, {"make-run", "wait"});
  ForkedRank launcher = start(plan);
  launcher.wait_for("rank 0 of 2");
  const std::vector<pid_t> children = children_of(launcher.pid(), 2);
  launcher.signal(SIGKILL);
  EXPECT_EQ(launcher.wait(), -SIGKILL);  // their standard error is the launcher's: it ends when all are gone
  for (const pid_t child : children) {
    for (int i = 0; i < 400 && ::kill(child, 0) == 0; ++i) std::this_thread::sleep_for(milliseconds(5));
    // Without an init that reaps, a zombie may stay.
    std::ifstream status(fmt::format("/proc/{}/stat", child));
    std::string text;
    std::getline(status, text);
    EXPECT_TRUE(text.empty() || text.find(") Z ") != std::string::npos) << text;
  }
}

TEST(Launcher, SaysWhatItCannotRun) {
  const TempDir folder;
  LaunchPlan plan = plan_of(folder / "run", 2, {});
  plan.program = "/nonexistent/program";
  ForkedRank launcher = start(plan);
  EXPECT_EQ(launcher.wait(), 1);
  EXPECT_THAT(launcher.said(), HasSubstr("cannot run /nonexistent/program: No such file or directory"));
}

TEST(LaunchFlags, AreTakenOutOfTheCommand) {
  EXPECT_THAT(without_launch_flags({"seer-train", "-v", "train", "--gpus", "0,1", "my.json",
                                    "--max-restarts=2", "--set", "a=b", "--ranks", "3", "--device", "cpu"}),
              ElementsAre("seer-train", "-v", "train", "my.json", "--set", "a=b", "--device", "cpu"));
}

TEST(LaunchFlags, GpuLists) {
  EXPECT_THAT(parse_gpus("all", 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(parse_gpus("2", 3), ElementsAre(2));
  EXPECT_THAT(parse_gpus("2,0", 3), ElementsAre(2, 0));
  for (const std::string bad : {"", ",", "0,", "0,,1", "x", "0 1", "-1", "3", "1,1", "All"}) {
    EXPECT_THROW(parse_gpus(bad, 3), Error) << bad;
  }
  EXPECT_THROW(parse_gpus("all", 0), Error);
}

TEST(LaunchFlags, MustFitTheConfig) {
  RunConfig config;
  config.output.dir = "runs/x";
  const auto refused = [&](const LaunchFlags& flags, const std::string& device,
                           const Environment& environment = {}) -> std::string {
    config.device = device;
    try {
      plan_launch(flags, config, environment, {"seer-train", "train", "c.json", "--ranks", "2"});
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refused({.ranks = 2}, "cpu"), "accepted");
  EXPECT_EQ(refused({.max_restarts = 1}, "cuda"), "accepted");
  EXPECT_THAT(refused({.ranks = 2}, "cuda"), HasSubstr("--gpus"));
  EXPECT_THAT(refused({.gpus = "0"}, "cpu"), HasSubstr("--device cuda"));
  EXPECT_THAT(refused({.gpus = "0", .ranks = 2}, "cuda"), HasSubstr("leave --ranks out"));
  EXPECT_THAT(refused({.ranks = 2}, "cpu", {{"RANK", "1"}, {"WORLD_SIZE", "2"}}),
              HasSubstr("torchrun has started this process as rank 1 of 2"));
  config.device = "cpu";
  const LaunchPlan plan = plan_launch({.ranks = 2, .max_restarts = 5}, config, {},
                                      {"seer-train", "train", "c.json", "--ranks", "2"});
  EXPECT_THAT(plan.command, ElementsAre("seer-train", "train", "c.json"));
  EXPECT_EQ(plan.ranks, 2);
  EXPECT_EQ(plan.max_restarts, 5);
  EXPECT_EQ(plan.run_folder, "runs/x");
}

}  // namespace
}  // namespace seer::test
