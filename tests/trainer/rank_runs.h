// Whole trainings of several processes: started by our launcher, or one by one as another launcher would.
#pragma once

#include <functional>
#include <list>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {

using Strings = std::vector<std::string>;

/// "--set" in front of each.
Strings sets(const Strings& settings);

/// One thread and CPU for each rank, and a step that four ranks can share: what the runs of these tests have in common.
extern const Strings kRankSettings;

/// The command of `seer-train train` for a run in run.path(name): kRankSettings, `more`, and with `ranks` above 0 the
/// launcher's flags.
Strings train_command(const TinyRun& run, const std::string& name, int ranks, const Strings& more = {});

/// Runs it.
ProcessResult train_on_ranks(const TinyRun& run, const std::string& name, int ranks,
                             const Strings& more = {});

/// Polls until the condition holds; false if the process ended, or minutes went by, without.
bool wait_until(Process& process, const std::function<bool()>& condition);

/// The process of a rank that this launcher started; waits for it to be there.
pid_t pid_of_rank(const Process& launcher, int rank);

/// Whether a process is there and no zombie.
bool is_alive(pid_t pid);

/// What a rank other than 0 has printed.
std::string log_of_rank(const std::filesystem::path& run, int rank);

/// Lines that begin with "seer-train: ": what a process says when it ends badly.
Strings last_words(const std::string& text);

/// Ranks of one job, each started by hand in the variables that torchrun, and most scripts, set.
class StartedRanks {
 public:
  /// `commands`: of every rank that is started; `size` says how many ranks they are told of (0: as many).
  explicit StartedRanks(const std::vector<Strings>& commands, int size = 0);

  Process& operator[](int rank) { return *std::next(processes_.begin(), rank); }
  /// Waits for all, by rank.
  std::vector<ProcessResult> wait();

 private:
  std::list<Process> processes_;
};

}  // namespace seer::test
