// Programs as their users meet them: started, signalled, waited for; what they printed and how they ended.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

namespace seer::test {

struct ProcessResult {
  int exit_code = -1;  ///< -1 if a signal ended it
  int signal = 0;      ///< The signal that ended it, or 0
  std::string out;     ///< Standard output
  std::string err;     ///< Standard error
};

/// A child process. Its output goes to files in memory, so it never waits for a reader. Not thread-safe.
class Process {
 public:
  struct Options {
    std::string input;                               ///< Standard input
    std::filesystem::path folder;                    ///< Working directory; empty: this process's
    std::map<std::string, std::string> environment;  ///< In addition to this process's
  };

  /// Starts argv[0], a path; throws Error if it cannot be started.
  explicit Process(const std::vector<std::string>& argv, const Options& options = {});
  /// Kills and reaps it if wait() was not called.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// What it has written to standard error so far.
  std::string error_text() const;
  /// Whether it has ended; wait() returns at once then.
  bool ended();
  ProcessResult wait();

 private:
  pid_t pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  int out_ = -1;
  int err_ = -1;
};

ProcessResult run_process(const std::vector<std::string>& argv, const Process::Options& options = {});

}  // namespace seer::test
