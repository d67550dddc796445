// Ctrl-C, kill and Slurm's warning: finish the step, save, then stop.
#pragma once

#include <array>
#include <csignal>

namespace seer {

/// While it lives, the first SIGINT, SIGTERM or SIGUSR1 asks the run to stop after the current step and says
/// so on standard error; a second SIGINT or SIGTERM quits the process at once with exit code 130. SIGUSR1
/// does not count as the first of the two: Slurm sends it ahead of the SIGTERM that should still end in a
/// checkpoint. The destructor puts the old handlers back. One object at a time; interrupted system calls are
/// restarted.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Whether the run should stop after this step. Cheap; callable from any thread.
  bool requested() const { return signal() != 0; }

  /// The signal that asked for it first, 0 if none did.
  int signal() const;

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGUSR1};

  std::array<struct sigaction, 3> old_;
};

}  // namespace seer
