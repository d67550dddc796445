#include "src/ranks/control_plane.h"

#include <atomic>
#include <csignal>
#include <numeric>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"
#include "tests/ranks/forked_rank.h"
#include "tests/ranks/star.h"

namespace seer::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A rank whose main thread is stuck, as in a collective that will never end.
int stay(ControlPlane& plane) {
  plane.exchange("all are here");
  say("waiting\n");
  std::this_thread::sleep_for(seconds(50));
  return 0;
}

std::vector<ForkedRank> fork_ranks(Star& star, int size, const std::function<int(ControlPlane&)>& body) {
  std::vector<ForkedRank> ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.emplace_back([&, rank] { return body(*star.join(rank)); });
  }
  star.options(1);  // closes the test's own copy of the listening socket
  return ranks;
}

TEST(Describe, RanksAsRanges) {
  EXPECT_EQ(describe_ranks({3}), "rank 3");
  EXPECT_EQ(describe_ranks({3, 5, 6, 7}), "ranks 3, 5-7");
  EXPECT_EQ(describe_ranks({1, 2, 4}), "ranks 1-2, 4");
  EXPECT_EQ(describe(milliseconds(500)), "0.5 s");
  EXPECT_EQ(describe(seconds(60)), "60 s");
}

TEST(ControlPlane, AloneNeedsNobody) {
  const auto plane = ControlPlane::join({});
  EXPECT_EQ(plane->rank(), 0);
  EXPECT_EQ(plane->size(), 1);
  EXPECT_EQ(plane->exchange("x"), std::vector<std::string>{"x"});
  plane->leave();
}

TEST(ControlPlane, ExchangesInTheOrderOfRanks) {
  constexpr int kRanks = 64;
  Star star(kRanks);
  JoinOptions head = star.options(0);
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int rank = 0; rank < kRanks; ++rank) {
    JoinOptions options = rank == 0 ? std::move(head) : star.options(rank);
    threads.emplace_back([&good, rank, options = std::make_shared<JoinOptions>(std::move(options))] {
      const auto plane = ControlPlane::join(std::move(*options));
      bool right = plane->size() == kRanks && plane->members()[5].host == "h5";
      for (int round = 0; round < 20; ++round) {
        // Of very different lengths, also none and more than a socket's buffer.
        const auto bytes = [&](int r) {
          return std::string((r * 37 + round * 101) % 7 == 0 ? 0 : r * 500, static_cast<char>(r + round));
        };
        const std::vector<std::string> all = plane->exchange(bytes(rank));
        right = right && all.size() == kRanks;
        for (int r = 0; r < kRanks; ++r) right = right && all[r] == bytes(r);
      }
      plane->leave();
      if (right) ++good;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, kRanks);
}

TEST(ControlPlane, OneLargeShare) {
  Star star(2);
  std::thread other([&star, options = std::make_shared<JoinOptions>(star.options(0))] {
    const auto plane = ControlPlane::join(std::move(*options));
    EXPECT_EQ(plane->exchange("")[1].size(), 50u << 20);
    plane->leave();
  });
  const auto plane = star.join(1);
  EXPECT_EQ(plane->exchange(std::string(50 << 20, 'x'))[1], std::string(50 << 20, 'x'));
  plane->leave();
  other.join();
}

TEST(ControlPlane, WaitsForALateRank) {
  Star star(3);
  std::vector<ForkedRank> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.emplace_back([&star, rank] {
      if (rank < 2) std::this_thread::sleep_for(milliseconds(rank == 0 ? 400 : 800));
      const auto plane = star.join(rank);
      const auto all = plane->exchange(std::to_string(rank));
      plane->leave();
      return all == std::vector<std::string>{"0", "1", "2"} ? 0 : 2;
    });
  }
  for (ForkedRank& rank : ranks) EXPECT_EQ(rank.wait(), 0) << rank.said();
}

TEST(ControlPlane, NamesTheRanksThatDidNotCome) {
  Star star(8, milliseconds(700));
  std::vector<ForkedRank> ranks;
  for (const int rank : {0, 1, 2, 4}) {
    ranks.emplace_back([&star, rank] { return star.join(rank) ? 0 : 2; });
  }
  for (ForkedRank& rank : ranks) {
    EXPECT_EQ(rank.wait(), 1);
    EXPECT_THAT(rank.said(), HasSubstr("ranks 3, 5-7 of 8 did not come within 0.7 s\n"));
  }
  EXPECT_THAT(ranks[1].said(), StartsWith("rank 0 at 127.0.0.1 port"));
}

TEST(ControlPlane, WithoutRankZeroTheOthersSayWhere) {
  Star star(2, milliseconds(300));
  const int port = star.port();
  JoinOptions options = star.options(1);  // and nobody listens any more
  try {
    ControlPlane::join(std::move(options));
    FAIL() << "joined nobody";
  } catch (const Error& e) {
    EXPECT_EQ(
        std::string(e.what()),
        fmt::format("rank 1 of 2 did not reach rank 0 within 0.3 s (127.0.0.1 port {}: Connection refused)",
                    port));
  }
}

TEST(ControlPlane, DropsStrangersAndWrongSecrets) {
  Star star(2);
  ForkedRank head([&star] {
    const auto plane = star.join(0);
    plane->leave();
    return 0;
  });
  std::string why;
  const Fd silent = connect_to("127.0.0.1", star.port(), Clock::now() + seconds(5), why);
  ASSERT_TRUE(silent.valid()) << why;
  Connection talker(connect_to("127.0.0.1", star.port(), Clock::now() + seconds(5), why));
  talker.send(std::make_shared<const std::string>("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_TRUE(talker.flush());
  EXPECT_THAT(
      head.wait_for("protocol\n"),
      HasSubstr("dropped a connection from 127.0.0.1 while ranks join: it does not speak this protocol"));

  ForkedRank wrong([&star] {
    JoinOptions options = star.options(1);
    options.join_timeout = milliseconds(500);
    options.find_head = [&star] { return HeadAddress{{"127.0.0.1"}, star.port(), "another secret"}; };
    ControlPlane::join(std::move(options));
    return 0;
  });
  EXPECT_EQ(wrong.wait(), 1);
  EXPECT_THAT(wrong.said(), HasSubstr("it does not accept this rank's secret"));
  EXPECT_THAT(head.wait_for("secret\n"), HasSubstr("it does not know this start's secret"));

  star.join(1)->leave();
  EXPECT_EQ(head.wait(), 0) << head.said();
  EXPECT_THAT(head.said(), Not(HasSubstr("another secret")));
}

TEST(ControlPlane, RefusesASecondProcessOfARank) {
  Star star(3);
  ForkedRank head([&star] {
    star.join(0)->leave();
    return 0;
  });
  ForkedRank first([&star] {
    star.join(1)->leave();
    return 0;
  });
  std::this_thread::sleep_for(milliseconds(300));
  ForkedRank second([&star] {
    star.join(1)->leave();
    return 0;
  });
  EXPECT_EQ(second.wait(), 1);
  EXPECT_THAT(second.said(),
              AllOf(HasSubstr(fmt::format("rank 1 (host h1, pid {}) is there already", first.pid())),
                    HasSubstr(fmt::format("host h1, pid {}", second.pid()))));
  ForkedRank other_size([&star] {
    JoinOptions options = star.options(2);
    options.size = 4;
    ControlPlane::join(std::move(options));
    return 0;
  });
  EXPECT_EQ(other_size.wait(), 1);
  EXPECT_THAT(other_size.said(), HasSubstr("was told of 4 ranks"));
  star.join(2)->leave();
  EXPECT_EQ(head.wait(), 0) << head.said();
  EXPECT_EQ(first.wait(), 0) << first.said();
}

TEST(ControlPlane, ARankKilledWhileJoiningEndsTheJoin) {
  Star star(3);
  ForkedRank head([&star] { return star.join(0) ? 0 : 2; });
  ForkedRank one([&star] { return star.join(1) ? 0 : 2; });
  std::this_thread::sleep_for(milliseconds(300));
  one.signal(SIGKILL);
  EXPECT_EQ(head.wait(), 1);
  EXPECT_THAT(
      head.said(),
      HasSubstr(fmt::format("rank 1 (host h1, pid {}) went away while ranks were still joining", one.pid())));
}

TEST(ControlPlane, EveryRankEndsWhenOneIsKilled) {
  for (const int victim : {0, 2}) {
    Star star(4);
    std::vector<ForkedRank> ranks = fork_ranks(star, 4, stay);
    for (ForkedRank& rank : ranks) rank.wait_for("waiting\n");
    const auto start = Clock::now();
    ranks[victim].signal(SIGKILL);
    for (int rank = 0; rank < 4; ++rank) {
      const int code = ranks[rank].wait();
      if (rank == victim) continue;
      EXPECT_EQ(code, kExitPeerLost);
      EXPECT_THAT(ranks[rank].said(),
                  EndsWith(fmt::format("waiting\nseer-train: rank {}: ended because rank {} (host h{}, pid "
                                       "{}) closed its connection: it was killed, "
                                       "or its host is gone\n",
                                       rank, victim, victim, ranks[victim].pid())));
    }
    EXPECT_LT(seconds_since(start), 5);
  }
}

TEST(ControlPlane, EveryRankEndsWhenOneIsStopped) {
  for (const int victim : {0, 3}) {
    Star star(4, seconds(2));
    std::vector<ForkedRank> ranks = fork_ranks(star, 4, stay);
    for (ForkedRank& rank : ranks) rank.wait_for("waiting\n");
    const auto start = Clock::now();
    ranks[victim].signal(SIGSTOP);
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == victim) continue;
      EXPECT_EQ(ranks[rank].wait(), kExitPeerLost);
      EXPECT_THAT(ranks[rank].said(),
                  HasSubstr(fmt::format("ended because rank {} (host h{}, pid {}) has said nothing for 2 s",
                                        victim, victim, ranks[victim].pid())));
    }
    EXPECT_GT(seconds_since(start), 1);
    EXPECT_LT(seconds_since(start), 8);
    // It wakes up later, and finds that the others have gone.
    ranks[victim].signal(SIGCONT);
    EXPECT_EQ(ranks[victim].wait(), kExitPeerLost);
  }
}

TEST(ControlPlane, AFailureIsToldToAll) {
  for (const int culprit : {0, 2}) {
    Star star(4);
    std::vector<ForkedRank> ranks = fork_ranks(star, 4, [culprit](ControlPlane& plane) {
      plane.exchange("all are here");
      if (plane.rank() == culprit) plane.abort("data.files: it holds nothing");
      if (plane.rank() != culprit)
        std::this_thread::sleep_for(seconds(50));  // and says nothing: the news come at any time
      return 1;
    });
    for (int rank = 0; rank < 4; ++rank) {
      EXPECT_EQ(ranks[rank].wait(), rank == culprit ? 1 : kExitPeerLost);
      if (rank == culprit) continue;
      EXPECT_THAT(ranks[rank].said(),
                  EndsWith(fmt::format("seer-train: rank {}: ended because rank {} (host h{}, pid {}) "
                                       "failed: data.files: it holds nothing\n",
                                       rank, culprit, culprit, ranks[culprit].pid())));
    }
  }
}

TEST(ControlPlane, BadNewsRightBehindTheWelcomeIsHeard) {
  Star star(3);
  ForkedRank head([&star] {
    star.join(0)->abort("at once");
    return 1;
  });
  ForkedRank one([&star] {
    star.join(1)->exchange("x");
    return 0;
  });
  std::this_thread::sleep_for(milliseconds(300));
  one.signal(SIGSTOP);  // it has come, and reads nothing until all is said
  ForkedRank two([&star] {
    star.join(2)->exchange("x");
    return 0;
  });
  EXPECT_EQ(two.wait(), kExitPeerLost);
  one.signal(SIGCONT);
  EXPECT_EQ(one.wait(), kExitPeerLost);
  EXPECT_THAT(one.said(), EndsWith(fmt::format("rank 0 (host h0, pid {}) failed: at once\n", head.pid())));
  EXPECT_EQ(head.wait(), 1);
}

TEST(ControlPlane, WithoutAGoodbyeARankIsLost) {
  Star star(3);
  std::vector<ForkedRank> ranks = fork_ranks(star, 3, [](ControlPlane& plane) {
    plane.exchange("x");
    if (plane.rank() != 1) plane.leave();
    return 0;
  });
  EXPECT_EQ(ranks[0].wait(), kExitPeerLost);
  EXPECT_EQ(ranks[1].wait(), 0);
  EXPECT_EQ(ranks[2].wait(), kExitPeerLost);
  EXPECT_THAT(ranks[2].said(), HasSubstr("rank 1 (host h1"));
}

TEST(ControlPlane, LeavingWaitsForTheLast) {
  Star star(3, seconds(2));
  std::vector<ForkedRank> ranks = fork_ranks(star, 3, [](ControlPlane& plane) {
    const auto start = Clock::now();
    // Longer than the timeout: heartbeats go on.
    if (plane.rank() == 2) std::this_thread::sleep_for(seconds(3));
    plane.leave();
    return seconds_since(start) > 2.5 ? 0 : 2;
  });
  for (ForkedRank& rank : ranks) EXPECT_EQ(rank.wait(), 0) << rank.said();
}

TEST(ControlPlane, LeavingWhileOthersExchangeIsNamed) {
  Star star(3);
  std::vector<ForkedRank> ranks = fork_ranks(star, 3, [](ControlPlane& plane) {
    if (plane.rank() == 1) plane.leave();
    plane.exchange("x");
    return 0;
  });
  for (ForkedRank& rank : ranks) {
    EXPECT_EQ(rank.wait(), kExitPeerLost);
    EXPECT_THAT(rank.said(), HasSubstr("rank 1 (host h1"));
    EXPECT_THAT(rank.said(), HasSubstr("left while others still had something to exchange"));
  }
}

TEST(ControlPlane, OnFailureOfTheCallersOwn) {
  Star star(2);
  ForkedRank other([&star] {
    const auto plane = star.join(1);
    plane->exchange("x");
    plane->abort("no space left");
    return 1;
  });
  JoinOptions options = star.options(0);
  std::string heard;
  options.on_failure = [&heard](const std::string& message) { heard = message; };
  const auto plane = ControlPlane::join(std::move(options));
  plane->exchange("x");
  EXPECT_THROW(plane->exchange("y"), Error);
  EXPECT_THROW(plane->exchange("z"), Error);
  EXPECT_THROW(plane->leave(), Error);
  plane->abort("too late");
  EXPECT_EQ(heard,
            fmt::format("rank 0: ended because rank 1 (host h1, pid {}) failed: no space left", other.pid()));
  EXPECT_EQ(other.wait(), 1);
}

}  // namespace
}  // namespace seer::test
