// A rank as a process of its own, forked from the test: what it said on standard error and how it ended.
#pragma once

#include <functional>
#include <string>

#include <sys/types.h>

namespace seer::test {

class ForkedRank {
 public:
  /// Runs `body` in a child; its exit code is what body returns, 1 after an Error (whose text goes to standard error).
  explicit ForkedRank(const std::function<int()>& body);
  ~ForkedRank();
  ForkedRank(ForkedRank&& other) noexcept;
  ForkedRank& operator=(ForkedRank&&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// Reads standard error until `text` was said or the child ended; returns everything said so far.
  const std::string& wait_for(const std::string& text);
  /// Exit code, or minus the signal that ended it. Everything it said is in said() afterwards.
  int wait();
  const std::string& said() const { return said_; }

 private:
  pid_t pid_ = -1;
  int pipe_ = -1;
  bool reaped_ = false;
  std::string said_;
};

/// Writes to standard error in one piece.
void say(const std::string& text);

}  // namespace seer::test
