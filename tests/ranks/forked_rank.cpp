#include "tests/ranks/forked_rank.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer::test {

ForkedRank::ForkedRank(const std::function<int()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) fail_errno("pipe", errno);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::alarm(60);
    int code = 1;
    try {
      code = body();
    } catch (const std::exception& e) {
      say(fmt::format("{}\n", e.what()));
    }
    ::_exit(code);
  }
  ::close(ends[1]);
  pipe_ = ends[0];
}

ForkedRank::ForkedRank(ForkedRank&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pipe_(std::exchange(other.pipe_, -1)),
      reaped_(other.reaped_),
      said_(std::move(other.said_)) {}

ForkedRank::~ForkedRank() {
  if (pid_ > 0 && !reaped_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (pipe_ >= 0) ::close(pipe_);
}

void ForkedRank::signal(int number) const {
  ::kill(pid_, number);
}

const std::string& ForkedRank::wait_for(const std::string& text) {
  char c = 0;
  while (said_.find(text) == std::string::npos && ::read(pipe_, &c, 1) == 1) said_.push_back(c);
  return said_;
}

int ForkedRank::wait() {
  char c = 0;
  while (::read(pipe_, &c, 1) == 1) said_.push_back(c);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  reaped_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void say(const std::string& text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) ::_exit(99);
}

}  // namespace seer::test
