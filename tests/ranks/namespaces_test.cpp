// Two hosts on one machine: network namespaces joined by a cable (veth). Neither sees the other's loopback.
#include <cerrno>
#include <csignal>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/ranks/rendezvous.h"
#include "tests/ranks/forked_rank.h"
#include "tests/support/fixtures.h"
#include "tests/support/process.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using ::testing::HasSubstr;

class Namespaces : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string failed = shell(fmt::format(
        "ip netns add {0}a && ip netns add {0}b && ip link add v{0}a netns {0}a type veth peer name v{0}b "
        "netns {0}b && "
        "ip -n {0}a address add 10.199.7.1/24 dev v{0}a && ip -n {0}b address add 10.199.7.2/24 dev v{0}b && "
        "ip -n {0}a link set v{0}a up && ip -n {0}b link set v{0}b up && ip -n {0}a link set lo up && ip -n "
        "{0}b link set lo up",
        name_));
    if (!failed.empty()) GTEST_SKIP() << "no network namespaces here: " << failed;
  }
  void TearDown() override { shell(fmt::format("ip netns delete {0}a; ip netns delete {0}b", name_)); }

  /// What it said on standard error, or nothing if all went well.
  static std::string shell(const std::string& command) {
    const ProcessResult result = run_process({"/bin/sh", "-c", command});
    return result.exit_code == 0 ? "" : result.err + "(exit code " + std::to_string(result.exit_code) + ")";
  }

  /// To be called in a forked rank.
  void enter(char host) const {
    const Fd fd(::open(fmt::format("/var/run/netns/{}{}", name_, host).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid() || ::setns(fd.get(), CLONE_NEWNET) != 0)
      fail_errno("cannot enter a network namespace", errno);
  }

  /// A rank on host 'a' (0 and 1) or 'b' (2 and 3), as Slurm starts them.
  Environment environment(int rank) const {
    return {{"SLURM_JOB_ID", name_},
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
        enter(rank < 2 ? 'a' : 'b');
        Environment all = environment(rank);
        for (const auto& [name, value] : more) all[name] = value;
        RankInfo info = read_launch_env(all);
        return body(*rendezvous(info, all,
                                {.run_folder = folder, .join_timeout = seconds(20), .timeout = seconds(2)}));
      });
    }
    return ranks;
  }

  const std::string name_ = fmt::format("seer{}", ::getpid());
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
  const Environment more = {{"MASTER_ADDR", "10.199.7.1"}, {"SEER_SECRET", "0123456789abcdef"}};
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
  ASSERT_EQ(shell(fmt::format("ip -n {0}a link set v{0}a down", name_)), "");
  const auto start_time = Clock::now();
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(ranks[rank].wait(), kExitPeerLost);
    EXPECT_THAT(ranks[rank].said(), HasSubstr("has said nothing for 2 s"));
  }
  EXPECT_LT(Clock::now() - start_time, seconds(8));
}

}  // namespace
}  // namespace seer::test
