// Trainings in which a process is killed, stopped, or fails: the others end, somebody says which one it was and why, and
// the run goes on from its newest checkpoint as if nothing had happened.
#include <chrono>
#include <csignal>
#include <limits>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "src/io/atomic_file.h"
#include "src/io/pth.h"
#include "src/ranks/control_plane.h"
#include "tests/trainer/rank_runs.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const Strings kLong = sets({"train.steps=40", "train.save_every=10", "eval.every=0", "eval.sequences=1"});

Strings with(Strings settings, const Strings& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

class RanksFailure : public testing::Test {
 protected:
  void run_alone() { expect_success(train_on_ranks(run_, "alone", 0, kLong)); }

  /// Past the first checkpoint, and far from the last step.
  bool in_the_middle(const std::string& name) const { return last_step(run_.path(name)) >= 11; }

  void resume_as_if_nothing_happened(const std::string& name, int ranks) {
    EXPECT_GE(last_step(run_.path(name)), 11);
    EXPECT_LT(last_step(run_.path(name)), 40);
    expect_success(train_on_ranks(run_, name, ranks, with(kLong, {"--resume"})));
    expect_same_run(run_.path("alone"), run_.path(name));
  }

  const TinyRun run_;
};

TEST_F(RanksFailure, OthersOfAKilledRankEnd) {
  for (const int victim : {0, 1}) {
    SCOPED_TRACE(victim);
    const std::string name = fmt::format("victim{}", victim);
    StartedRanks ranks(std::vector<Strings>(4, train_command(run_, name, 0, kLong)));
    ASSERT_TRUE(wait_until(ranks[0], [&] { return in_the_middle(name); }));
    const pid_t pid = ranks[victim].pid();
    const auto before = steady_clock::now();
    ranks[victim].signal(SIGKILL);
    const std::vector<ProcessResult> results = ranks.wait();
    EXPECT_LT(steady_clock::now() - before, seconds(60)) << "parallel.timeout";
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == victim) continue;
      EXPECT_EQ(results[rank].exit_code, kExitPeerLost) << results[rank].err;
      EXPECT_THAT(last_words(results[rank].err),
                  ElementsAre(ContainsRegex(fmt::format(
                      "rank {}: ended because rank {} \\(host .*, pid {}\\) closed its connection", rank,
                      victim, pid))));
    }
  }
}

TEST_F(RanksFailure, TheLauncherNamesAKilledRank) {
  run_alone();
  for (const int victim : {0, 1}) {
    SCOPED_TRACE(victim);
    const std::string name = fmt::format("victim{}", victim);
    Process launcher(train_command(run_, name, 4, kLong));
    ASSERT_TRUE(wait_until(launcher, [&] { return in_the_middle(name); }));
    const pid_t pid = pid_of_rank(launcher, victim);
    ::kill(pid, SIGKILL);
    const ProcessResult result = launcher.wait();
    EXPECT_EQ(result.exit_code, kFailure);
    const std::string where =
        victim == 0 ? "its output is above"
                    : fmt::format("its log: {}", (run_.path(name) / "logs/rank-1.log").string());
    EXPECT_THAT(last_words(result.err),
                Contains(fmt::format("seer-train: rank {} (pid {}) was ended by SIGKILL (Killed) ({})",
                                     victim, pid, where)));
    for (const int rank : {1, 2, 3}) {
      if (rank == victim) continue;
      const std::string log = log_of_rank(run_.path(name), rank);
      EXPECT_THAT(
          last_words(log),
          ElementsAre(StartsWith(fmt::format("seer-train: rank {}: ended because rank {} (", rank, victim))));
      EXPECT_THAT(log, Not(HasSubstr("SIGTERM"))) << "it ended by itself";
    }
    EXPECT_THAT(result.err, Not(HasSubstr("SIGTERM")));
    resume_as_if_nothing_happened(name, victim == 0 ? 2 : 4);
  }
}

TEST_F(RanksFailure, RestartsAreAsIfNothingHappened) {
  run_alone();
  Process launcher(train_command(run_, "run", 2, with(kLong, {"--max-restarts", "1"})));
  ASSERT_TRUE(wait_until(launcher, [&] { return in_the_middle("run"); }));
  ::kill(pid_of_rank(launcher, 1), SIGKILL);
  const ProcessResult result = launcher.wait();
  expect_success(result);
  EXPECT_THAT(last_words(result.err), Contains("seer-train: restart 1 of 1, from the newest checkpoint"));
  expect_same_run(run_.path("alone"), run_.path("run"));
}

TEST_F(RanksFailure, AStoppedRankIsMissedAndKilled) {
  run_alone();
  Process launcher(
      train_command(run_, "run", 3, with(kLong, sets({"parallel.timeout=3", "train.batch_size=3"}))));
  ASSERT_TRUE(wait_until(launcher, [&] { return in_the_middle("run"); }));
  const pid_t pid = pid_of_rank(launcher, 1);
  const pid_t other = pid_of_rank(launcher, 2);
  const auto before = steady_clock::now();
  ::kill(pid, SIGSTOP);
  EXPECT_TRUE(wait_until(launcher, [&] { return !is_alive(other); }));
  EXPECT_LT(steady_clock::now() - before, seconds(20)) << "parallel.timeout is 3";
  const ProcessResult result = launcher.wait();
  EXPECT_EQ(result.exit_code, kFailure);
  EXPECT_FALSE(is_alive(pid));
  EXPECT_THAT(
      last_words(result.err),
      ElementsAre(ContainsRegex("rank 0: ended because rank 1 \\(host .*\\) has said nothing for 3 s"),
                  HasSubstr(fmt::format("rank 1 (pid {}) was stopped or stuck", pid))));
  EXPECT_THAT(log_of_rank(run_.path("run"), 2),
              ContainsRegex("rank 2: ended because rank 1 \\(host .*\\) has said nothing for 3 s"));
}

/// Rank 0 holds the connections to all others. When it goes on, it finds itself left alone.
TEST_F(RanksFailure, AStoppedRank0IsMissed) {
  const Strings settings = with(kLong, sets({"parallel.timeout=3", "train.batch_size=3"}));
  StartedRanks ranks(std::vector<Strings>(3, train_command(run_, "run", 0, settings)));
  ASSERT_TRUE(wait_until(ranks[0], [&] { return in_the_middle("run"); }));
  const auto before = steady_clock::now();
  ranks[0].signal(SIGSTOP);
  for (const int rank : {1, 2}) {
    const ProcessResult result = ranks[rank].wait();
    EXPECT_EQ(result.exit_code, kExitPeerLost);
    EXPECT_THAT(last_words(result.err),
                ElementsAre(ContainsRegex("ended because rank 0 \\(host .*\\) has said nothing for 3 s")));
  }
  EXPECT_LT(steady_clock::now() - before, seconds(20)) << "parallel.timeout is 3";
  ranks[0].signal(SIGCONT);
  const ProcessResult head = ranks[0].wait();
  EXPECT_EQ(head.exit_code, kExitPeerLost);
  EXPECT_THAT(last_words(head.err), ElementsAre(HasSubstr("ended because rank ")));
}

TEST_F(RanksFailure, NothingSurvivesTheLauncher) {
  run_alone();
  Process launcher(train_command(run_, "run", 4, kLong));
  ASSERT_TRUE(wait_until(launcher, [&] { return in_the_middle("run"); }));
  std::vector<pid_t> pids;
  for (int rank = 0; rank < 4; ++rank) pids.push_back(pid_of_rank(launcher, rank));
  launcher.signal(SIGKILL);
  EXPECT_EQ(launcher.wait().signal, SIGKILL);
  const auto deadline = steady_clock::now() + seconds(60);
  for (const pid_t pid : pids) {
    while (is_alive(pid) && steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_FALSE(is_alive(pid));
  }
  resume_as_if_nothing_happened("run", 1);
}

/// A rank that fails by itself says so, and the others say it, too.
void expect_failure_of_rank_1(StartedRanks& ranks, const std::string& why) {
  const std::vector<ProcessResult> results = ranks.wait();
  EXPECT_EQ(results[1].exit_code, kFailure);
  EXPECT_THAT(last_words(results[1].err), ElementsAre(HasSubstr(why)));
  for (const int rank : {0, 2}) {
    EXPECT_EQ(results[rank].exit_code, kExitPeerLost);
    EXPECT_THAT(last_words(results[rank].err),
                ElementsAre(ContainsRegex(fmt::format(
                    "rank {}: ended because rank 1 \\(host .*, pid .*\\) failed: .*{}", rank, why))));
  }
}

TEST_F(RanksFailure, ADamagedModelOfOneRank) {
  fs::copy(run_.model(), run_.path("damaged"), fs::copy_options::recursive);
  fs::resize_file(run_.path("damaged") / "model.safetensors", 10000);
  const Strings three = sets({"train.batch_size=3"});
  std::vector<Strings> commands(3, train_command(run_, "run", 0, three));
  commands[1] =
      train_command(run_, "run", 0, with(three, sets({"model.path=" + run_.path("damaged").string()})));
  StartedRanks ranks(commands);
  expect_failure_of_rank_1(ranks, "damaged/model.safetensors");
  EXPECT_FALSE(fs::exists(run_.path("run")));
}

/// Found in the middle of the training; one file for each rank, as on hosts that hold copies.
TEST_F(RanksFailure, DamagedDataOfOneRank) {
  const Strings settings = with(kLong, sets({"train.batch_size=3", "data.shuffle=false", "data.prefetch=1",
                                             "data.files=[\"ids.safetensors\"]"}));
  std::vector<Strings> commands;
  for (int rank = 0; rank < 3; ++rank) {
    const fs::path folder = run_.path(fmt::format("disk{}", rank));
    fs::create_directory(folder);
    std::vector<std::vector<int32_t>> documents;
    for (uint64_t i = 0; i < 60; ++i) documents.push_back(random_ids(i, 256, 256));
    if (rank == 1) documents[50][7] = 1000;  // not in the vocabulary
    write_documents(folder / "ids.safetensors", documents);
    commands.push_back(
        with({"/usr/bin/env", "-C", folder.string()}, train_command(run_, "run", 0, settings)));
  }
  StartedRanks ranks(commands);
  expect_failure_of_rank_1(ranks, "ids.safetensors");
  EXPECT_GE(last_step(run_.path("run")), 1);
  EXPECT_FALSE(fs::exists(run_.path("run") / "gates"));
}

TEST(RanksFailureOfAll, NotFiniteStopsWithTheLastGoodCheckpoint) {
  // The embedding of one token is damaged, which rank 1 is the first to meet, in step 3.
  constexpr int32_t kRareToken = 256;
  const TinyModel model{.vocabulary = kRareToken + 1};
  const TinyRun run(TinyRun::Layout::kJoined, model);
  std::vector<int32_t> ids = random_ids(1, 256 * 16, kRareToken);
  ids[256 * 11 + 3] = kRareToken;
  write_npy(run.path("tokens.npy"), ids);
  write_npy(run.path("held_out.npy"), random_ids(2, 256 * 2, kRareToken));
  std::vector<OwnedTensor> tensors = tiny_tensors(model);
  set_element(tensor_named(tensors, "model.embed_tokens.weight"), kRareToken * model.hidden + 5,
              std::numeric_limits<float>::quiet_NaN());
  write_model(run.model(), tiny_config_json(model), tensors);
  const ProcessResult result =
      train_on_ranks(run, "run", 2, with(sets({"data.shuffle=false"}), {"--max-restarts", "1"}));
  EXPECT_EQ(result.exit_code, kFailure);
  EXPECT_THAT(result.err, HasSubstr("step 3: NaN or infinity in the base model's activations of layer 0"));
  EXPECT_THAT(result.err, HasSubstr("restart 1 of 1, from the newest checkpoint"));
  EXPECT_EQ(last_step(run.path("run")), 2);
  EXPECT_FALSE(fs::exists(run.path("run") / "gates"));
  EXPECT_THAT(files_below(run.path("run") / "checkpoints"), Contains("step-00000002/state.safetensors"));
}

}  // namespace
}  // namespace seer::test
