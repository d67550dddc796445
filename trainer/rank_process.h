// One rank that the launcher started: its process, and what it prints.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "src/ranks/fd.h"

namespace seer {

/// Started from a program, its arguments and additions to this process's environment; in a process group of its own, so
/// that Ctrl-C reaches the launcher alone. It dies with the launcher.
class RankProcess {
 public:
  struct Options {
    int rank = 0;
    std::string program;                 ///< A path
    std::vector<std::string> arguments;  ///< [0] is the program's name
    std::map<std::string, std::string> environment;
    bool own_output =
        true;  ///< Standard input and output are this process's; else output comes through a pipe
    int inherited_fd = -1;  ///< Stays open in the child, unless -1
  };

  /// Throws Error if it cannot be started.
  explicit RankProcess(const Options& options);
  /// Kills and reaps it if it still runs.
  ~RankProcess();
  RankProcess(RankProcess&& other) noexcept;
  RankProcess& operator=(RankProcess&&) = delete;

  int rank() const { return rank_; }
  pid_t pid() const { return pid_; }
  bool running() const { return !status_.has_value(); }
  /// Looks whether it has ended; true if it has since the last look.
  bool reap();
  void signal(int number) const;

  /// After it has ended: its exit code, or none if a signal ended it.
  std::optional<int> exit_code() const;
  /// The signal that ended it, or 0.
  int ending_signal() const;
  /// "exited with code 1", "was ended by SIGKILL (killed)".
  std::string how_it_ended() const;

  /// The pipe's end to poll; -1 if its output is this process's, or it has closed it.
  int output() const { return output_.get(); }
  /// What it printed since the last call; empty once and for all when output() is -1.
  std::string read_output();

 private:
  int rank_;
  pid_t pid_ = -1;
  std::optional<int> status_;  ///< Of waitpid()
  Fd output_;
};

}  // namespace seer
