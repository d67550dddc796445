// Which rank this process is, read from what launchers leave in the environment.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace seer {

using Environment = std::map<std::string, std::string, std::less<>>;

/// This process's environment.
Environment current_environment();

/// One process's place in a start of the training.
struct RankInfo {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  ///< Among the ranks of its node; -1 where the launcher does not say
  int local_size = 1;  ///< Ranks of its node; 0 where the launcher does not say
  int nodes = 1;       ///< 0 where the launcher does not say
  std::string source = "alone";
  std::string head_host;  ///< Where rank 0 runs; empty where the launcher does not say
  int port = 0;           ///< Where rank 0 shall listen; 0 where the launcher does not say
  std::string job;        ///< Names this start (job, step, restart); letters, digits, '.', '_' and '-'

  bool alone() const { return size == 1; }
};

/// The first of these that is there: our own launcher (SEER_RANK), torchrun and everything that sets its names (RANK),
/// Open MPI (OMPI_COMM_WORLD_RANK), a Slurm step (SLURM_PROCID with SLURM_STEP_ID: sbatch without srun is alone), MPICH's
/// PMI (PMI_RANK), PMIx (PMIX_RANK). MASTER_ADDR and MASTER_PORT name the head whoever started us. Throws a usage
/// Error naming the variable that is missing, malformed or contradicts another.
RankInfo read_launch_env(const Environment& environment);

/// The first host of a Slurm node list: "n1" of "n[1-2,5]", "gpu-001" of "gpu-[001-004,7],login1". Throws a usage Error
/// that names `variable` if it is none.
std::string first_host(std::string_view node_list, std::string_view variable);

}  // namespace seer
