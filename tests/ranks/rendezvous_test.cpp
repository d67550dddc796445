#include "src/ranks/rendezvous.h"

#include <csignal>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/ranks/token_file.h"
#include "tests/ranks/forked_rank.h"
#include "tests/support/fixtures.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// What a rank of a two-node Slurm step finds, one task a node.
Environment slurm(int rank, int size = 2, const std::string& restart = "") {
  return {{"SLURM_JOB_ID", "9"},
          {"SLURM_STEP_ID", "0"},
          {"SLURM_PROCID", std::to_string(rank)},
          {"SLURM_NTASKS", std::to_string(size)},
          {"SLURM_LOCALID", "0"},
          {"SLURM_NODEID", std::to_string(rank)},
          {"SLURM_NNODES", std::to_string(size)},
          {"SLURM_RESTART_COUNT", restart},
          {"SLURM_STEP_TASKS_PER_NODE", "1(x" + std::to_string(size) + ")"}};
}

/// Joins, exchanges, leaves; says what it got.
int meet(const Environment& environment, const fs::path& folder, milliseconds join_timeout = seconds(20)) {
  RankInfo info = read_launch_env(environment);
  const auto plane = rendezvous(info, environment, {.run_folder = folder, .join_timeout = join_timeout});
  std::string all;
  for (const std::string& each : plane->exchange(fmt::format("<{}>", info.rank))) all += each;
  say(fmt::format("{} local {} of {}, nodes {}\n", all, info.local_rank, info.local_size, info.nodes));
  plane->leave();
  return 0;
}

TEST(TokenFile, IsForItsOwnerAndGoesAgain) {
  const TempDir folder;
  const fs::path path = TokenFile::path(folder / "a/b", "slurm-9-0-0");
  EXPECT_EQ(path, folder / "a/b/.ranks-slurm-9-0-0");
  EXPECT_FALSE(TokenFile::read(path));
  {
    const TokenFile file(path, {{"n1", "10.0.0.1"}, 4711, "s3cret"});
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    const auto head = TokenFile::read(path);
    ASSERT_TRUE(head);
    EXPECT_EQ(head->hosts, (std::vector<std::string>{"n1", "10.0.0.1"}));
    EXPECT_EQ(head->port, 4711);
    EXPECT_EQ(head->secret, "s3cret");
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(TokenFile, KeepsWhatIsNotItsOwn) {
  const TempDir folder;
  const fs::path path = TokenFile::path(folder / "run", "j");
  {
    const TokenFile file(path, {{"n1"}, 1, "one"});
    std::ofstream(folder / "run/config.json") << "{}";
    std::ofstream(path) << "another start's";
  }
  EXPECT_TRUE(fs::exists(path));
  EXPECT_TRUE(fs::exists(folder / "run/config.json"));
}

TEST(TokenFile, RefusesWhatIsCutOff) {
  const TempDir folder;
  const fs::path path = TokenFile::path(folder.path(), "j");
  const TokenFile file(path, {{"n1"}, 1, "one"});
  const std::string whole = read_text_file(path);
  for (size_t length = 0; length + 1 < whole.size(); ++length) {
    std::ofstream(path, std::ios::trunc) << whole.substr(0, length);
    EXPECT_FALSE(TokenFile::read(path)) << length;
  }
}

TEST(TokenFile, SaysWhatItCannotWrite) {
  const TempDir folder;
  std::ofstream(folder / "file") << "x";
  try {
    const TokenFile file(folder / "file/run/.ranks-j", {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr((folder / "file/run").string()));
  }
}

TEST(Rendezvous, ByTokenFile) {
  const TempDir folder;
  std::vector<ForkedRank> ranks;
  for (int rank = 0; rank < 4; ++rank) {
    ranks.emplace_back([&, rank] { return meet(slurm(rank, 4), folder / "new/run"); });
  }
  for (ForkedRank& rank : ranks) {
    EXPECT_EQ(rank.wait(), 0) << rank.said();
    EXPECT_THAT(rank.said(), HasSubstr("<0><1><2><3> local 0 of 1, nodes 4\n"));
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Rendezvous, AFileOfAKilledStartIsNotTaken) {
  const TempDir folder;
  // The same name as ours, as without Slurm's restart count; nobody, or somebody else, listens there now.
  Fd stranger = listen_on(0, false);
  const fs::path path = TokenFile::path(folder.path(), "slurm-9-0-0");
  std::ofstream(path) << fmt::format("seer-train ranks 1\nport {}\nsecret old\nhost 127.0.0.1\nend\n",
                                     port_of(stranger));
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  ForkedRank one([&] {
    stranger = Fd();
    return meet(slurm(1), folder.path());
  });
  std::thread([&] {  // answers as a rank 0 of another start would: it does not know the secret
    std::string peer;
    while (!accept_from(stranger, peer).valid()) std::this_thread::sleep_for(milliseconds(5));
  })
      .join();
  ForkedRank zero([&] { return meet(slurm(0), folder.path()); });
  EXPECT_EQ(zero.wait(), 0) << zero.said();
  EXPECT_EQ(one.wait(), 0) << one.said();
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Rendezvous, AFileThatOthersMayReadIsNotTaken) {
  const TempDir folder;
  const fs::path path = TokenFile::path(folder.path(), "slurm-9-0-0");
  std::ofstream(path) << "seer-train ranks 1\nport 1\nsecret known\nhost 127.0.0.1\nend\n";
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_TRUE(TokenFile::read(path).has_value());
  fs::permissions(path, fs::perms::group_read, fs::perm_options::add);
  EXPECT_FALSE(TokenFile::read(path).has_value());
}

TEST(Rendezvous, AnotherStartsFileIsAnotherName) {
  const TempDir folder;
  const fs::path old = TokenFile::path(folder.path(), "slurm-9-0-0");
  std::ofstream(old) << "seer-train ranks 1\nport 1\nsecret old\nhost 127.0.0.1\nend\n";
  ForkedRank zero([&] { return meet(slurm(0, 2, "1"), folder.path()); });
  ForkedRank one([&] { return meet(slurm(1, 2, "1"), folder.path()); });
  EXPECT_EQ(zero.wait(), 0) << zero.said();
  EXPECT_EQ(one.wait(), 0) << one.said();
}

TEST(Rendezvous, NodesThatShareNothingAreToldWhatToDo) {
  const TempDir folder;
  ForkedRank zero([&] { return meet(slurm(0), folder / "here", milliseconds(500)); });
  ForkedRank one([&] { return meet(slurm(1), folder / "there", milliseconds(500)); });
  for (ForkedRank* rank : {&zero, &one}) {
    EXPECT_EQ(rank->wait(), 1);
    EXPECT_THAT(rank->said(), AllOf(HasSubstr("output.dir has to be a folder that all nodes share"),
                                    HasSubstr("SEER_SECRET"), HasSubstr("MASTER_ADDR")));
  }
  EXPECT_THAT(zero.said(), HasSubstr("rank 1 of 2 did not come within 0.5 s"));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Rendezvous, BySecret) {
  const TempDir folder;
  // A port that was free a moment ago.
  const std::string port = std::to_string(port_of(listen_on(0, false)));
  const auto generic = [&](int rank) {
    return Environment{{"RANK", std::to_string(rank)},
                       {"WORLD_SIZE", "2"},
                       {"MASTER_ADDR", "127.0.0.1"},
                       {"MASTER_PORT", port},
                       {"SEER_SECRET", "0123456789abcdef"}};
  };
  std::vector<ForkedRank> ranks;
  for (const int rank : {0, 1}) {
    ranks.emplace_back([&, rank] { return meet(generic(rank), folder / "never"); });
  }
  EXPECT_EQ(ranks[0].wait(), 0) << ranks[0].said();
  EXPECT_EQ(ranks[1].wait(), 0) << ranks[1].said();
  // LOCAL_RANK was not set: both are on this host.
  EXPECT_THAT(ranks[0].said(), HasSubstr("<0><1> local 0 of 2, nodes 1\n"));
  EXPECT_THAT(ranks[1].said(), HasSubstr("<0><1> local 1 of 2, nodes 1\n"));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Rendezvous, BySecretAtTheJobsPort) {
  const TempDir folder;
  std::vector<ForkedRank> ranks;
  for (const int rank : {0, 1}) {
    Environment environment = slurm(rank);
    environment["SLURM_JOB_ID"] = std::to_string(::getpid());
    environment["MASTER_ADDR"] = "localhost";
    environment["SEER_SECRET"] = "0123456789abcdef";
    ranks.emplace_back([&folder, environment] { return meet(environment, folder / "never"); });
  }
  for (ForkedRank& rank : ranks) EXPECT_EQ(rank.wait(), 0) << rank.said();
  EXPECT_EQ(port_of_job("slurm-9-0-0"), port_of_job("slurm-9-0-0"));
  EXPECT_NE(port_of_job("slurm-9-0-0"), port_of_job("slurm-9-0-1"));
}

TEST(Rendezvous, RefusesWhatCannotWork) {
  const auto refused = [](const Environment& environment) -> std::string {
    RankInfo info = read_launch_env(environment);
    try {
      rendezvous(info, environment, {.run_folder = "/nonexistent", .join_timeout = milliseconds(100)});
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  Environment environment = slurm(1);
  environment["SEER_SECRET"] = "short";
  EXPECT_THAT(refused(environment), HasSubstr("SEER_SECRET has 5 characters"));
  environment["SEER_SECRET"] = "0123456789abcdef";
  EXPECT_THAT(refused(environment), HasSubstr("set MASTER_ADDR"));
  const Environment ours = {{"SEER_RANK", "0"}, {"SEER_WORLD_SIZE", "2"}, {"SEER_PORT", "1"}};
  EXPECT_THAT(refused(ours), HasSubstr("SEER_SECRET is not"));
  Environment with_secret = ours;
  with_secret["SEER_SECRET"] = "s";
  EXPECT_THAT(refused(with_secret), HasSubstr("SEER_LISTEN_FD"));
  with_secret["SEER_LISTEN_FD"] = "0";
  EXPECT_THAT(refused(with_secret), HasSubstr("SEER_LISTEN_FD=0 is no listening socket"));
}

TEST(Rendezvous, AloneNeedsNothing) {
  RankInfo info;
  const auto plane = rendezvous(info, {}, {.run_folder = "/nonexistent"});
  EXPECT_EQ(plane->size(), 1);
}

}  // namespace
}  // namespace seer::test
