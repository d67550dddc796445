// From what the launcher left in the environment to a control plane with all ranks on it.
#pragma once

#include <filesystem>
#include <memory>

#include "src/ranks/control_plane.h"
#include "src/ranks/launch_env.h"

namespace seer {

struct RendezvousOptions {
  std::filesystem::path run_folder;
  std::chrono::milliseconds join_timeout{std::chrono::seconds(300)};
  std::chrono::milliseconds timeout{std::chrono::seconds(60)};
  std::function<void(const std::string&)> on_failure;  ///< As JoinOptions::on_failure
};

/// Address and secret come from our own launcher if it started us (SEER_PORT, SEER_SECRET, and on rank 0 SEER_LISTEN_FD);
/// else, with SEER_SECRET set by the user, rank 0 listens at MASTER_ADDR:MASTER_PORT, or on the head node at a port derived
/// from the job's name; else rank 0 leaves them in a token file in the run folder, which is removed when all have come.
///
/// What the launcher did not say of `info` (local rank and size, nodes) is filled in from the hosts of the ranks. Throws
/// Error as ControlPlane::join does, with what to do about it, and leaves no file and no new folder.
std::unique_ptr<ControlPlane> rendezvous(RankInfo& info, const Environment& environment,
                                         const RendezvousOptions& options);

/// Fills in what is unknown of `info` from the hosts of all ranks.
void fill_in_layout(RankInfo& info, const std::vector<Member>& members);

/// A port for starts that name none: the same for all ranks of a job, below the ports that systems hand out themselves.
int port_of_job(const std::string& job);

}  // namespace seer
