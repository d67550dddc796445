#include "src/ranks/launch_env.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>
#include <optional>

#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();

std::optional<int> whole_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.starts_with('-')) return std::nullopt;
  return value;
}

/// Variables of one launcher, by name. A variable that is set but empty counts as not set, as batch scripts leave them.
class Variables {
 public:
  Variables(const Environment& environment, std::string_view launcher)
      : environment_(environment), launcher_(launcher) {}

  bool has(std::string_view name) const {
    const auto found = environment_.find(name);
    return found != environment_.end() && !found->second.empty();
  }

  std::string text(std::string_view name, std::string_view otherwise = "") const {
    return has(name) ? environment_.find(name)->second : std::string(otherwise);
  }

  /// A whole number between `least` and `most`, or `otherwise` if it is not set.
  int number(std::string_view name, int otherwise, int least, int most = kMaxInt) const {
    if (!has(name)) return otherwise;
    const std::string value = text(name);
    const auto parsed = whole_number(value);
    if (!parsed || *parsed < least || *parsed > most) {
      const std::string range =
          most == kMaxInt ? fmt::format("of at least {}", least) : fmt::format("from {} to {}", least, most);
      fail_usage("{}=\"{}\" (set by {}): a whole number {} was expected", name, value, launcher_, range);
    }
    return *parsed;
  }

  int required_number(std::string_view name, std::string_view because, int least, int most = kMaxInt) const {
    if (!has(name)) fail_usage("{} is set (by {}), but {} is not", because, launcher_, name);
    return number(name, 0, least, most);
  }

 private:
  const Environment& environment_;
  std::string_view launcher_;
};

/// Parts joined by '-', everything but letters, digits, '.' and '_' replaced: the name of a file.
std::string name_of(std::initializer_list<std::string> parts) {
  std::string name;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (!name.empty()) name += '-';
    for (const char c : part) {
      const bool plain =
          (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_';
      name += plain ? c : '_';
    }
  }
  return name;
}

/// "2(x2),1" at node 2 is 1: tasks of each node, in the nodes' order.
int tasks_of_node(std::string_view list, int node, std::string_view variable) {
  for (std::string_view rest = list; !rest.empty();) {
    const std::string_view entry = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
    const size_t bracket = entry.find("(x");
    const auto tasks = whole_number(entry.substr(0, bracket));
    std::optional<int> repeats = 1;
    if (bracket != std::string_view::npos) {
      repeats = entry.ends_with(')') ? whole_number(entry.substr(bracket + 2, entry.size() - bracket - 3))
                                     : std::nullopt;
    }
    if (!tasks || *tasks < 1 || !repeats || *repeats < 1) break;
    if (node < *repeats) return *tasks;
    node -= *repeats;
  }
  fail_usage("{}=\"{}\" (set by Slurm) does not say how many tasks this node has: \"2(x3),1\" was expected",
             variable, list);
}

/// Nodes of a start whose ranks are `local_size` on this one, as far as that tells.
int nodes_of(int local_size, int size) {
  return local_size == size ? 1 : 0;
}

/// MASTER_ADDR and MASTER_PORT are the user's word, whoever starts the ranks.
void read_master(const Variables& variables, RankInfo& info) {
  info.head_host = variables.text("MASTER_ADDR", info.head_host);
  info.port = variables.number("MASTER_PORT", info.port, 1, 65535);
}

void check(const RankInfo& info, std::string_view rank, std::string_view size, std::string_view local_rank,
           std::string_view local_size) {
  if (info.rank >= info.size) {
    fail_usage("{}={} contradicts {}={} (set by {})", rank, info.rank, size, info.size, info.source);
  }
  if (info.local_size > info.size) {
    fail_usage("{}={} contradicts {}={} (set by {})", local_size, info.local_size, size, info.size,
               info.source);
  }
  const int limit = info.local_size > 0 ? info.local_size : info.size;
  if (info.local_rank >= limit) {
    fail_usage("{}={} contradicts {}={} (set by {})", local_rank, info.local_rank,
               info.local_size > 0 ? local_size : size, limit, info.source);
  }
}

RankInfo of_our_launcher(const Environment& environment) {
  const Variables variables(environment, "seer-train's launcher");
  RankInfo info{.source = "seer-train's launcher"};
  info.rank = variables.required_number("SEER_RANK", "SEER_RANK", 0);
  info.size = variables.required_number("SEER_WORLD_SIZE", "SEER_RANK", 1);
  info.local_rank = variables.number("SEER_LOCAL_RANK", info.rank, 0);
  info.local_size = info.size;
  info.head_host = "127.0.0.1";
  info.port = variables.number("SEER_PORT", 0, 1, 65535);
  info.job = name_of({"seer", variables.text("SEER_RESTART_COUNT", "0")});
  check(info, "SEER_RANK", "SEER_WORLD_SIZE", "SEER_LOCAL_RANK", "SEER_WORLD_SIZE");
  return info;
}

RankInfo of_torchrun(const Environment& environment) {
  const Variables variables(environment, "torchrun");
  RankInfo info{.source = "torchrun"};
  info.rank = variables.required_number("RANK", "RANK", 0);
  info.size = variables.required_number("WORLD_SIZE", "RANK", 1);
  info.local_rank = variables.number("LOCAL_RANK", -1, 0);
  info.local_size = variables.number("LOCAL_WORLD_SIZE", info.size == 1 ? 1 : 0, 1);
  info.nodes = variables.number("GROUP_WORLD_SIZE", nodes_of(info.local_size, info.size), 1);
  read_master(variables, info);
  info.job = name_of({"torchrun", variables.text("TORCHELASTIC_RUN_ID"), info.head_host,
                      variables.text("MASTER_PORT"), variables.text("TORCHELASTIC_RESTART_COUNT", "0")});
  // torchrun's own store listens at MASTER_PORT; the rendezvous then derives a port from the job's name.
  if (variables.text("TORCHELASTIC_USE_AGENT_STORE") == "True") info.port = 0;
  check(info, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE");
  return info;
}

RankInfo of_open_mpi(const Environment& environment) {
  const Variables variables(environment, "Open MPI");
  RankInfo info{.source = "Open MPI"};
  info.rank = variables.required_number("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_RANK", 0);
  info.size = variables.required_number("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", 1);
  info.local_rank = variables.number("OMPI_COMM_WORLD_LOCAL_RANK", -1, 0);
  info.local_size = variables.number("OMPI_COMM_WORLD_LOCAL_SIZE", info.size == 1 ? 1 : 0, 1);
  info.nodes = nodes_of(info.local_size, info.size);
  read_master(variables, info);
  info.job = name_of({"openmpi", variables.text("PMIX_NAMESPACE"), variables.text("OMPI_MCA_ess_base_jobid"),
                      variables.text("SLURM_JOB_ID"), variables.text("SLURM_RESTART_COUNT", "0")});
  check(info, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE");
  return info;
}

[[noreturn]] void refuse_node_list(std::string_view list, std::string_view variable) {
  fail_usage("{}=\"{}\" (set by Slurm) is no list of nodes: \"n[1-2,5]\" was expected", variable, list);
}

/// The node on which Slurm puts task 0.
std::string slurm_head(const Variables& variables) {
  for (const std::string_view name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"}) {
    if (variables.has(name)) return first_host(variables.text(name), name);
  }
  return "";
}

std::string_view slurm_size_variable(const Variables& variables) {
  return variables.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
}

RankInfo of_slurm(const Environment& environment) {
  const Variables variables(environment, "Slurm");
  RankInfo info{.source = "Slurm"};
  const std::string_view size = slurm_size_variable(variables);
  info.rank = variables.required_number("SLURM_PROCID", "SLURM_STEP_ID", 0);
  info.size = variables.required_number(size, "SLURM_STEP_ID", 1);
  info.local_rank = variables.number("SLURM_LOCALID", -1, 0);
  info.local_size = info.size == 1 ? 1 : 0;
  if (variables.has("SLURM_STEP_TASKS_PER_NODE") && variables.has("SLURM_NODEID")) {
    info.local_size = tasks_of_node(variables.text("SLURM_STEP_TASKS_PER_NODE"),
                                    variables.number("SLURM_NODEID", 0, 0), "SLURM_STEP_TASKS_PER_NODE");
  }
  info.nodes =
      variables.number(variables.has("SLURM_STEP_NUM_NODES") ? "SLURM_STEP_NUM_NODES" : "SLURM_NNODES",
                       nodes_of(info.local_size, info.size), 1);
  info.head_host = slurm_head(variables);
  read_master(variables, info);
  info.job = name_of({"slurm", variables.text("SLURM_JOB_ID"), variables.text("SLURM_STEP_ID"),
                      variables.text("SLURM_RESTART_COUNT", "0")});
  check(info, "SLURM_PROCID", size, "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE");
  return info;
}

RankInfo of_pmi(const Environment& environment) {
  const Variables variables(environment, "PMI");
  RankInfo info{.source = "PMI"};
  info.rank = variables.required_number("PMI_RANK", "PMI_RANK", 0);
  info.size = variables.required_number("PMI_SIZE", "PMI_RANK", 1);
  info.local_rank = variables.number("MPI_LOCALRANKID", -1, 0);
  info.local_size = variables.number("MPI_LOCALNRANKS", info.size == 1 ? 1 : 0, 1);
  info.nodes = nodes_of(info.local_size, info.size);
  info.head_host = slurm_head(variables);
  read_master(variables, info);
  info.job = name_of({"pmi", variables.text("PMI_JOBID"), variables.text("SLURM_JOB_ID"),
                      variables.text("SLURM_RESTART_COUNT", "0")});
  check(info, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS");
  return info;
}

RankInfo of_pmix(const Environment& environment) {
  const Variables variables(environment, "PMIx");
  RankInfo info{.source = "PMIx"};
  info.rank = variables.required_number("PMIX_RANK", "PMIX_RANK", 0);
  if (!variables.has("PMIX_SIZE")) {
    fail_usage(
        "PMIX_RANK={} is set, but nothing says how many ranks there are: start with srun or mpirun, or set "
        "RANK, "
        "WORLD_SIZE, LOCAL_RANK and MASTER_ADDR (unset PMIX_RANK for a training on its own)",
        info.rank);
  }
  info.size = variables.number("PMIX_SIZE", 1, 1);
  info.local_rank = variables.number("PMIX_LOCAL_RANK", -1, 0);
  info.local_size = variables.number("PMIX_LOCAL_SIZE", info.size == 1 ? 1 : 0, 1);
  info.nodes = nodes_of(info.local_size, info.size);
  info.head_host = slurm_head(variables);
  read_master(variables, info);
  info.job = name_of({"pmix", variables.text("PMIX_NAMESPACE"), variables.text("SLURM_RESTART_COUNT", "0")});
  check(info, "PMIX_RANK", "PMIX_SIZE", "PMIX_LOCAL_RANK", "PMIX_LOCAL_SIZE");
  return info;
}

/// In a batch job Hydra's mpirun starts its proxies with srun, one on each node, and the proxies start the ranks: Slurm's
/// variables then count proxies, PMI's count ranks. srun's own PMI agrees with srun.
bool started_by_hydra(const Environment& environment) {
  const Variables variables(environment, "PMI");
  return variables.has("PMI_RANK") && variables.has("PMI_SIZE") &&
         variables.text("PMI_SIZE") != variables.text(slurm_size_variable(variables));
}

}  // namespace

Environment current_environment() {
  Environment result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return result;
}

RankInfo read_launch_env(const Environment& environment) {
  const Variables any(environment, "");
  if (any.has("SEER_RANK")) return of_our_launcher(environment);
  if (any.has("RANK")) return of_torchrun(environment);
  if (any.has("OMPI_COMM_WORLD_RANK")) return of_open_mpi(environment);
  if (any.has("SLURM_STEP_ID") && any.has("SLURM_PROCID") && !started_by_hydra(environment)) {
    return of_slurm(environment);
  }
  if (any.has("PMI_RANK")) return of_pmi(environment);
  // Slurm's own shells inside an allocation carry no rank, a batch script carries a rank but no step: both are alone.
  if (any.has("PMIX_RANK")) return of_pmix(environment);
  return {};
}

std::string first_host(std::string_view node_list, std::string_view variable) {
  std::string host;
  for (size_t i = 0; i < node_list.size() && node_list[i] != ','; ++i) {
    if (node_list[i] != '[') {
      host += node_list[i];
      continue;
    }
    const size_t end = node_list.find(']', i);
    if (end == std::string_view::npos) refuse_node_list(node_list, variable);
    const std::string_view ranges = node_list.substr(i + 1, end - i - 1);
    const std::string_view first = ranges.substr(0, ranges.find_first_of("-,"));
    if (first.empty() || first.find_first_not_of("0123456789") != std::string_view::npos)
      refuse_node_list(node_list, variable);
    host += first;
    i = end;
  }
  if (host.empty() || host.find(']') != std::string::npos) refuse_node_list(node_list, variable);
  return host;
}

}  // namespace seer
