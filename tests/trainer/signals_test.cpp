#include "trainer/signals.h"

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

using ::testing::HasSubstr;

/// A forked child with its standard error on a pipe. The child runs `body` and exits with what it returns.
class Child {
 public:
  template <typename Body>
  explicit Child(Body body) {
    int ends[2];
    if (::pipe(ends) != 0) fail_errno("pipe", errno);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDERR_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::alarm(30);
      ::_exit(body());
    }
    ::close(ends[1]);
    said_ = ends[0];
  }
  ~Child() { ::close(said_); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void signal(int number) const { ::kill(pid_, number); }

  /// Everything said up to and with `text`; what was said at all if it ended without.
  std::string wait_for(const std::string& text) {
    std::string heard;
    char c = 0;
    while (heard.find(text) == std::string::npos && ::read(said_, &c, 1) == 1) heard.push_back(c);
    return heard;
  }

  int exit_code() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = 0;
  int said_ = -1;
};

void say(const std::string& text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) ::_exit(99);
}

/// A training loop: polls between steps of a millisecond, then needs a while to save.
int train_until_stopped(int save_milliseconds) {
  const StopSignal stop;
  say("ready\n");
  while (!stop.requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  say("saving\n");
  for (int i = 0; i < save_milliseconds; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return 75;
}

TEST(StopSignal, FirstSignalAsksToStop) {
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) {
    Child child([] { return train_until_stopped(0); });
    child.wait_for("ready\n");
    child.signal(number);
    EXPECT_THAT(child.wait_for("saving\n"), HasSubstr(": stopping after this step"));
    EXPECT_EQ(child.exit_code(), 75);
  }
}

TEST(StopSignal, SecondSignalQuitsAtOnce) {
  for (const int second : {SIGINT, SIGTERM}) {
    Child child([] { return train_until_stopped(20'000); });
    child.wait_for("ready\n");
    child.signal(SIGINT);
    EXPECT_THAT(child.wait_for("saving\n"),
                HasSubstr("SIGINT: stopping after this step; again to quit at once\n"));
    child.signal(second);
    EXPECT_EQ(child.exit_code(), 130);
  }
}

TEST(StopSignal, SlurmsWarningThenItsTermStillSaves) {
  Child child([] { return train_until_stopped(200); });
  child.wait_for("ready\n");
  child.signal(SIGUSR1);
  child.wait_for("saving\n");
  child.signal(SIGUSR1);
  child.signal(SIGTERM);
  EXPECT_THAT(child.wait_for("SIGTERM: stopping after this step; again to quit at once\n"),
              HasSubstr("SIGTERM"));
  EXPECT_EQ(child.exit_code(), 75);
}

TEST(StopSignal, SaysWhichSignalCameFirst) {
  const StopSignal stop;
  EXPECT_FALSE(stop.requested());
  EXPECT_EQ(stop.signal(), 0);
  std::raise(SIGUSR1);
  EXPECT_TRUE(stop.requested());
  EXPECT_EQ(stop.signal(), SIGUSR1);
}

TEST(StopSignal, PutsTheOldHandlersBack) {
  static volatile std::sig_atomic_t seen;
  seen = 0;
  const auto old = std::signal(SIGUSR1, [](int) { seen = 1; });
  {
    const StopSignal stop;
    std::raise(SIGUSR1);
    EXPECT_TRUE(stop.requested());
    EXPECT_EQ(seen, 0);
    EXPECT_THROW(StopSignal(), Error);
  }
  std::raise(SIGUSR1);
  EXPECT_EQ(seen, 1);
  std::signal(SIGUSR1, old);
  const StopSignal again;
  EXPECT_FALSE(again.requested());
}

}  // namespace
}  // namespace seer
