// The control plane between two hosts.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "src/ranks/rendezvous.h"
#include "tests/ranks/forked_rank.h"
#include "tests/support/fixtures.h"
#include "tests/support/two_hosts.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using ::testing::HasSubstr;

class Namespaces : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!hosts_.failed().empty()) GTEST_SKIP() << "no network namespaces here: " << hosts_.failed();
  }

  /// A rank on host 'a' (0 and 1) or 'b' (2 and 3), as Slurm starts them.
  Environment environment(int rank) const {
    return {{"SLURM_JOB_ID", job_},
            {"SLURM_STEP_ID", "0"},
            {"SLURM_PROCID", std::to_string(rank)},
            {"SLURM_NTASKS", "4"},
            {"SLURM_LOCALID", std::to_string(rank % 2)},
            {"SLURM_NODEID", std::to_string(rank / 2)},
            {"SLURM_NNODES", "2"},
            {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"}};
  }

  std::vector<ForkedRank> start(const fs::path& folder, const Environment& more,
                                const std::function<int(ControlPlane&)>& body) const {
    std::vector<ForkedRank> ranks;
    for (int rank = 0; rank < 4; ++rank) {
      ranks.emplace_back([&, rank] {
        hosts_.enter(rank < 2 ? 'a' : 'b');
        Environment all = environment(rank);
        for (const auto& [name, value] : more) all[name] = value;
        RankInfo info = read_launch_env(all);
        return body(*rendezvous(info, all,
                                {.run_folder = folder, .join_timeout = seconds(20), .timeout = seconds(2)}));
      });
    }
    return ranks;
  }

  const std::string job_ = std::to_string(::getpid());
  const TwoHosts hosts_;
};

int meet(ControlPlane& plane) {
  const std::vector<std::string> all = plane.exchange(std::to_string(plane.rank()));
  plane.leave();
  return all == std::vector<std::string>{"0", "1", "2", "3"} ? 0 : 2;
}

TEST_F(Namespaces, MeetByTokenFile) {
  const TempDir folder;
  for (ForkedRank& rank : start(folder / "run", {}, meet)) EXPECT_EQ(rank.wait(), 0) << rank.said();
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST_F(Namespaces, MeetBySecret) {
  const Environment more = {{"MASTER_ADDR", TwoHosts::address('a')}, {"SEER_SECRET", "0123456789abcdef"}};
  for (ForkedRank& rank : start("/nonexistent", more, meet)) EXPECT_EQ(rank.wait(), 0) << rank.said();
}

TEST_F(Namespaces, ACutCableEndsAllRanks) {
  const TempDir folder;
  std::vector<ForkedRank> ranks = start(folder / "run", {}, [](ControlPlane& plane) {
    plane.exchange("all are here");
    say("waiting\n");
    std::this_thread::sleep_for(seconds(50));
    return 0;
  });
  for (ForkedRank& rank : ranks) rank.wait_for("waiting\n");
  ASSERT_EQ(hosts_.cut_the_cable(), "");
  const auto start_time = Clock::now();
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(ranks[rank].wait(), kExitPeerLost);
    EXPECT_THAT(ranks[rank].said(), HasSubstr("has said nothing for 2 s"));
  }
  EXPECT_LT(Clock::now() - start_time, seconds(8));
}

}  // namespace
}  // namespace seer::test
