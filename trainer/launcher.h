// One machine, many ranks: starts a process for each, passes signals on, and says which one went wrong.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace seer {

struct LaunchPlan {
  std::string program = "/proc/self/exe";
  std::vector<std::string> command;  ///< Of every rank; [0] is the program's name
  int ranks = 1;
  std::vector<int> gpus;             ///< SEER_GPU of each rank; empty on a CPU
  std::filesystem::path run_folder;  ///< Logs go there once rank 0 has made it; the launcher never makes it
  int max_restarts = 0;
  bool verbose = false;  ///< Also print what ranks other than 0 print
  std::chrono::milliseconds grace{
      std::chrono::seconds(10)};  ///< For ranks to end after one has, then after SIGTERM
};

/// Runs all ranks to their end and returns the exit code of the whole: 0 or 75 if all ended so, 2 for a usage error,
/// 128 + n if signal n stopped them before they could save, else 1.
///
/// Rank 0 has this process's terminal, the others' output goes to <run_folder>/logs/rank-N.log. Ranks find each other by
/// SEER_RANK, SEER_WORLD_SIZE, SEER_LOCAL_RANK, SEER_PORT, SEER_SECRET and, on rank 0, SEER_LISTEN_FD. SIGTERM, SIGINT and
/// SIGUSR1 are passed on to all. When a rank fails, the others learn it from the control plane; those that have not ended
/// after `grace` get SIGTERM, and after another `grace` SIGKILL. Standard error then says which rank failed first, how,
/// and where its log is. A failed start is repeated up to max_restarts times, with --resume once there is a run.
int launch(const LaunchPlan& plan);

/// `arguments` without --gpus, --ranks and --max-restarts and their values: the command of every rank.
std::vector<std::string> without_launch_flags(const std::vector<std::string>& arguments);

/// The ordinals of "0,1,3", or of "all" out of `count`. A usage Error for anything else, also for one named twice or not
/// below `count`.
std::vector<int> parse_gpus(const std::string& text, int count);

}  // namespace seer
