// Ctrl-C, kill and Slurm's warning: finish the step, save, then stop.
#pragma once

#include <array>
#include <csignal>

#include <sys/types.h>

namespace seer {

/// While it lives, the first SIGINT, SIGTERM or SIGUSR1 asks to stop after the current step and says
/// so on standard error; a second SIGINT or SIGTERM quits the process at once with exit code 130. SIGUSR1
/// does not count as the first of the two: Slurm sends it ahead of the SIGTERM that should still end in a
/// checkpoint. To a rank with a launcher, which passes on what the user sends, signals of others do not count
/// either: at the end of a job's time Slurm signals both of them. The destructor puts the old handlers back.
/// One object at a time; interrupted system calls are restarted.
class StopSignal {
 public:
  /// `launcher`: the process whose signals are the user's; 0: all are. `unit`: what is finished first, for the message; a
  /// literal.
  explicit StopSignal(pid_t launcher = 0, const char* unit = "step");
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Whether to stop after this step. Cheap; callable from any thread.
  bool requested() const { return signal() != 0; }

  /// The signal that asked for it first, 0 if none did.
  int signal() const;

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGUSR1};

  std::array<struct sigaction, 3> old_;
};

}  // namespace seer
