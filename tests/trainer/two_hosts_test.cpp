// One training on two hosts, two ranks on each.
#include "tests/support/two_hosts.h"

#include <list>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "src/ranks/control_plane.h"
#include "tests/trainer/rank_runs.h"

namespace seer::test {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TrainingOnTwoHosts : public testing::Test {
 protected:
  void SetUp() override {
    if (!hosts_.failed().empty()) GTEST_SKIP() << "no network namespaces here: " << hosts_.failed();
  }

  /// Ranks 0 and 1 on host 'a', 2 and 3 on 'b', in torchrun's variables and `more`.
  void start(const Strings& more, const Strings& settings = {}) {
    for (int rank = 0; rank < 4; ++rank) {
      Strings command = {"/usr/bin/env",       fmt::format("RANK={}", rank),
                         "WORLD_SIZE=4",       fmt::format("LOCAL_RANK={}", rank % 2),
                         "LOCAL_WORLD_SIZE=2", "GROUP_WORLD_SIZE=2"};
      command.insert(command.end(), more.begin(), more.end());
      const Strings train = train_command(run_, "run", 0, settings);
      command.insert(command.end(), train.begin(), train.end());
      ranks_.emplace_back(hosts_.on(rank < 2 ? 'a' : 'b', command));
    }
  }

  void expect_the_run_of_one() {
    std::list<ProcessResult> results;
    for (Process& rank : ranks_) results.push_back(rank.wait());
    for (const ProcessResult& result : results) expect_success(result);
    EXPECT_THAT(results.front().err, HasSubstr("4 ranks on 2 machines (torchrun) over Gloo"));
    expect_success(train_on_ranks(run_, "alone", 0));
    expect_same_run(run_.path("alone"), run_.path("run"));
  }

  const TwoHosts hosts_;
  const TinyRun run_;
  std::list<Process> ranks_;
};

const Strings kSecret = {"SEER_SECRET=0123456789abcdef0123456789abcdef",
                         "MASTER_ADDR=" + TwoHosts::address('a')};

TEST_F(TrainingOnTwoHosts, BySecret) {
  start(kSecret, sets({"parallel.shard_weights=0"}));
  expect_the_run_of_one();
}

/// In the run folder, which both hosts see.
TEST_F(TrainingOnTwoHosts, ByTokenFile) {
  start({"TORCHELASTIC_RUN_ID=two_hosts"});
  expect_the_run_of_one();
}

TEST_F(TrainingOnTwoHosts, ACutCableEndsAllRanks) {
  start(kSecret, sets({"parallel.timeout=3", "train.steps=4000"}));
  ASSERT_TRUE(wait_until(ranks_.front(), [&] { return last_step(run_.path("run")) >= 2; }));
  ASSERT_EQ(hosts_.cut_the_cable(), "");
  for (Process& rank : ranks_) {
    const ProcessResult result = rank.wait();
    EXPECT_EQ(result.exit_code, kExitPeerLost) << result.err;
    EXPECT_THAT(last_words(result.err),
                ElementsAre(ContainsRegex("ended because rank .* said nothing for 3 s")));
  }
}

}  // namespace
}  // namespace seer::test
