#include "src/ranks/launch_env.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Environment operator+(Environment all, const Environment& more) {
  for (const auto& [name, value] : more) all[name] = value;
  return all;
}

/// What Slurm 22.05 sets for the last task of `srun -N2 --ntasks-per-node=2`.
const Environment kSlurmStep = {{"SLURM_JOB_ID", "71"},
                                {"SLURM_STEP_ID", "0"},
                                {"SLURM_PROCID", "3"},
                                {"SLURM_LOCALID", "1"},
                                {"SLURM_NODEID", "1"},
                                {"SLURM_NTASKS", "4"},
                                {"SLURM_NPROCS", "4"},
                                {"SLURM_STEP_NUM_TASKS", "4"},
                                {"SLURM_STEP_NUM_NODES", "2"},
                                {"SLURM_NNODES", "2"},
                                {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"},
                                {"SLURM_STEP_NODELIST", "n[1-2]"},
                                {"SLURM_JOB_NODELIST", "login1,n[1-2]"}};

/// What sbatch sets for its script, which may ask for many tasks and start none.
const Environment kSlurmBatch = {
    {"SLURM_JOB_ID", "71"}, {"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}, {"SLURM_NTASKS", "4"},
    {"SLURM_NODEID", "0"},  {"SLURM_NNODES", "2"}, {"SLURM_NPROCS", "4"},  {"SLURM_JOB_NODELIST", "n[1-2]"}};

/// What Open MPI 4.1's mpirun -np 2 sets.
const Environment kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                              {"OMPI_COMM_WORLD_SIZE", "2"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                              {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                              {"OMPI_COMM_WORLD_NODE_RANK", "1"},
                              {"PMIX_NAMESPACE", "2002190337"},
                              {"PMIX_RANK", "1"}};

const Environment kTorchrun = {{"RANK", "5"},
                               {"LOCAL_RANK", "1"},
                               {"WORLD_SIZE", "8"},
                               {"LOCAL_WORLD_SIZE", "4"},
                               {"GROUP_RANK", "1"},
                               {"GROUP_WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "n1"},
                               {"MASTER_PORT", "29500"},
                               {"TORCHELASTIC_RUN_ID", "a b"},
                               {"TORCHELASTIC_RESTART_COUNT", "2"},
                               {"TORCHELASTIC_USE_AGENT_STORE", "True"}};

const Environment kHydra = {
    {"PMI_RANK", "6"}, {"PMI_SIZE", "8"}, {"MPI_LOCALRANKID", "2"}, {"MPI_LOCALNRANKS", "4"}};

const Environment kOurs = {{"SEER_RANK", "2"},
                           {"SEER_WORLD_SIZE", "4"},
                           {"SEER_LOCAL_RANK", "2"},
                           {"SEER_PORT", "4711"},
                           {"SEER_RESTART_COUNT", "1"}};

struct Case {
  std::string name;
  Environment environment;
  RankInfo expected;
};

const std::vector<Case> kCases = {
    {"nothing", {}, {}},
    {"ours",
     kOurs,
     {.rank = 2,
      .size = 4,
      .local_rank = 2,
      .local_size = 4,
      .nodes = 1,
      .source = "seer-train's launcher",
      .head_host = "127.0.0.1",
      .port = 4711,
      .job = "seer-1"}},
    // torchrun's own store has MASTER_PORT, so ours is not that.
    {"torchrun",
     kTorchrun,
     {.rank = 5,
      .size = 8,
      .local_rank = 1,
      .local_size = 4,
      .nodes = 2,
      .source = "torchrun",
      .head_host = "n1",
      .port = 0,
      .job = "torchrun-a_b-n1-29500-2"}},
    {"generic",
     {{"RANK", "1"}, {"LOCAL_RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "80"}},
     {.rank = 1,
      .size = 2,
      .local_rank = 0,
      .local_size = 0,
      .nodes = 0,
      .source = "torchrun",
      .head_host = "h",
      .port = 80,
      .job = "torchrun-h-80-0"}},
    {"openmpi",
     kOpenMpi,
     {.rank = 1,
      .size = 2,
      .local_rank = 1,
      .local_size = 2,
      .nodes = 1,
      .source = "Open MPI",
      .job = "openmpi-2002190337-0"}},
    {"slurm",
     kSlurmStep,
     {.rank = 3,
      .size = 4,
      .local_rank = 1,
      .local_size = 2,
      .nodes = 2,
      .source = "Slurm",
      .head_host = "n1",
      .job = "slurm-71-0-0"}},
    {"slurm, requeued, with a head of the user's",
     kSlurmStep +
         Environment{{"SLURM_RESTART_COUNT", "3"}, {"MASTER_ADDR", "n1-ib"}, {"MASTER_PORT", "7000"}},
     {.rank = 3,
      .size = 4,
      .local_rank = 1,
      .local_size = 2,
      .nodes = 2,
      .source = "Slurm",
      .head_host = "n1-ib",
      .port = 7000,
      .job = "slurm-71-0-3"}},
    {"sbatch without srun", kSlurmBatch, {}},
    {"hydra",
     kHydra,
     {.rank = 6, .size = 8, .local_rank = 2, .local_size = 4, .nodes = 0, .source = "PMI", .job = "pmi-0"}},
    {"pmi of srun --mpi=pmi2",
     kSlurmStep + Environment{{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"PMI_JOBID", "71.0"}},
     {.rank = 3,
      .size = 4,
      .local_rank = 1,
      .local_size = 2,
      .nodes = 2,
      .source = "Slurm",
      .head_host = "n1",
      .job = "slurm-71-0-0"}},
    {"hydra inside a Slurm step of its proxies",
     kSlurmStep + kHydra,
     {.rank = 6,
      .size = 8,
      .local_rank = 2,
      .local_size = 4,
      .nodes = 0,
      .source = "PMI",
      .head_host = "n1",
      .job = "pmi-71-0"}},
    {"hydra inside sbatch",
     kSlurmBatch + kHydra,
     {.rank = 6,
      .size = 8,
      .local_rank = 2,
      .local_size = 4,
      .nodes = 0,
      .source = "PMI",
      .head_host = "n1",
      .job = "pmi-71-0"}},
    {"pmix",
     {{"PMIX_RANK", "1"}, {"PMIX_SIZE", "2"}, {"PMIX_NAMESPACE", "prterun-h-77@1"}},
     {.rank = 1,
      .size = 2,
      .local_rank = -1,
      .local_size = 0,
      .nodes = 0,
      .source = "PMIx",
      .job = "pmix-prterun_h_77_1-0"}},
    // Precedence: each with everything that comes after it.
    {"ours first",
     kOurs + kTorchrun + kOpenMpi + kSlurmStep + kHydra,
     {.rank = 2,
      .size = 4,
      .local_rank = 2,
      .local_size = 4,
      .nodes = 1,
      .source = "seer-train's launcher",
      .head_host = "127.0.0.1",
      .port = 4711,
      .job = "seer-1"}},
    {"torchrun before mpi",
     kTorchrun + kOpenMpi + kSlurmStep + kHydra,
     {.rank = 5,
      .size = 8,
      .local_rank = 1,
      .local_size = 4,
      .nodes = 2,
      .source = "torchrun",
      .head_host = "n1",
      .port = 0,
      .job = "torchrun-a_b-n1-29500-2"}},
    {"openmpi before slurm",
     kOpenMpi + kSlurmStep,
     {.rank = 1,
      .size = 2,
      .local_rank = 1,
      .local_size = 2,
      .nodes = 1,
      .source = "Open MPI",
      .job = "openmpi-2002190337-71-0"}},
    // As many batch scripts do: the size for Python, no rank.
    {"slurm with WORLD_SIZE exported",
     kSlurmStep + Environment{{"WORLD_SIZE", "4"}},
     {.rank = 3,
      .size = 4,
      .local_rank = 1,
      .local_size = 2,
      .nodes = 2,
      .source = "Slurm",
      .head_host = "n1",
      .job = "slurm-71-0-0"}},
    {"an empty variable is none", kSlurmBatch + Environment{{"RANK", ""}, {"SLURM_STEP_ID", ""}}, {}},
};

TEST(LaunchEnv, Table) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const RankInfo info = read_launch_env(c.environment);
    EXPECT_EQ(info.rank, c.expected.rank);
    EXPECT_EQ(info.size, c.expected.size);
    EXPECT_EQ(info.local_rank, c.expected.local_rank);
    EXPECT_EQ(info.local_size, c.expected.local_size);
    EXPECT_EQ(info.nodes, c.expected.nodes);
    EXPECT_EQ(info.source, c.expected.source);
    EXPECT_EQ(info.head_host, c.expected.head_host);
    EXPECT_EQ(info.port, c.expected.port);
    EXPECT_EQ(info.job, c.expected.job);
    EXPECT_EQ(info.alone(), c.expected.size == 1);
  }
}

struct Refused {
  Environment environment;
  std::string first;  ///< What the message names
  std::string second;
};

TEST(LaunchEnv, RefusesByName) {
  const std::vector<Refused> all = {
      {{{"RANK", "1"}}, "RANK", "WORLD_SIZE is not"},
      {kTorchrun + Environment{{"RANK", "x"}}, "RANK=\"x\"", "torchrun"},
      {kTorchrun + Environment{{"RANK", "-1"}}, "RANK=\"-1\"", "at least 0"},
      {kTorchrun + Environment{{"RANK", "8"}}, "RANK=8", "WORLD_SIZE=8"},
      {kTorchrun + Environment{{"WORLD_SIZE", "0"}}, "WORLD_SIZE=\"0\"", "at least 1"},
      {kTorchrun + Environment{{"LOCAL_RANK", "4"}}, "LOCAL_RANK=4", "LOCAL_WORLD_SIZE=4"},
      {kTorchrun + Environment{{"LOCAL_WORLD_SIZE", "9"}}, "LOCAL_WORLD_SIZE=9", "WORLD_SIZE=8"},
      {kTorchrun + Environment{{"MASTER_PORT", "70000"}}, "MASTER_PORT", "65535"},
      {kTorchrun + Environment{{"WORLD_SIZE", "99999999999"}}, "WORLD_SIZE", "whole number"},
      {kTorchrun + Environment{{"WORLD_SIZE", "8 "}}, "WORLD_SIZE", "whole number"},
      {{{"OMPI_COMM_WORLD_RANK", "0"}}, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE is not"},
      {{{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "0"}}, "SLURM_STEP_ID", "SLURM_NTASKS is not"},
      {kSlurmStep + Environment{{"SLURM_PROCID", "4"}}, "SLURM_PROCID=4", "SLURM_STEP_NUM_TASKS=4"},
      {kSlurmStep + Environment{{"SLURM_STEP_NODELIST", "n[1-"}}, "SLURM_STEP_NODELIST", "n[1-"},
      {kSlurmStep + Environment{{"SLURM_STEP_TASKS_PER_NODE", "2(x"}}, "SLURM_STEP_TASKS_PER_NODE", "2(x"},
      {kSlurmStep + Environment{{"SLURM_STEP_TASKS_PER_NODE", "2"}}, "SLURM_STEP_TASKS_PER_NODE",
       "this node"},
      {{{"PMI_RANK", "0"}}, "PMI_RANK", "PMI_SIZE is not"},
      {{{"PMIX_RANK", "0"}}, "PMIX_RANK=0", "how many"},
      {{{"SEER_RANK", "0"}}, "SEER_RANK", "SEER_WORLD_SIZE is not"},
  };
  for (const Refused& c : all) {
    try {
      read_launch_env(c.environment);
      ADD_FAILURE() << "accepted: " << c.first << ", " << c.second;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), AllOf(HasSubstr(c.first), HasSubstr(c.second)));
      EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    }
  }
}

TEST(LaunchEnv, UnevenNodes) {
  for (const auto& [node, tasks] : std::vector<std::pair<std::string, int>>{{"0", 3}, {"1", 3}, {"2", 2}}) {
    const RankInfo info = read_launch_env(kSlurmStep + Environment{{"SLURM_STEP_NUM_TASKS", "8"},
                                                                   {"SLURM_STEP_TASKS_PER_NODE", "3(x2),2"},
                                                                   {"SLURM_NODEID", node}});
    EXPECT_EQ(info.local_size, tasks) << node;
  }
}

TEST(LaunchEnv, FirstHost) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"n1", "n1"},
      {"n1,n2", "n1"},
      {"n[1-2,5]", "n1"},
      {"n[5,1-2]", "n5"},
      {"gpu-[001-004,7],login1", "gpu-001"},
      {"login1,n[1-2]", "login1"},
      {"r[1-2]n[3-4]", "r1n3"},
      {"n[07-09]-ib,x", "n07-ib"},
  };
  for (const auto& [list, host] : cases) EXPECT_EQ(first_host(list, "V"), host);
  for (const std::string list : {"", ",n1", "n[", "n[]", "n[a-b]", "n1]", "n[1-2"}) {
    EXPECT_THROW(first_host(list, "V"), Error) << list;
  }
}

TEST(LaunchEnv, OfThisProcess) {
  const Environment environment = current_environment();
  EXPECT_TRUE(environment.contains("PATH"));
}

}  // namespace
}  // namespace seer
