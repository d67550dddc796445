#include "tests/trainer/rank_runs.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include <fmt/format.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/ranks/socket.h"

namespace seer::test {
namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::steady_clock;

const Strings kRankSettings =
    sets({"threads=1", "train.batch_size=4", "data.shuffle_buffer=6", "parallel.timeout=60"});

Strings sets(const Strings& settings) {
  Strings arguments;
  for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  return arguments;
}

Strings train_command(const TinyRun& run, const std::string& name, int ranks, const Strings& more) {
  Strings command = {seer_train_binary()};
  const auto add = [&](const Strings& arguments) {
    command.insert(command.end(), arguments.begin(), arguments.end());
  };
  add(run.arguments(name, kRankSettings));
  if (ranks > 0) add({"--ranks", std::to_string(ranks), "--device", "cpu"});
  add(more);
  return command;
}

ProcessResult train_on_ranks(const TinyRun& run, const std::string& name, int ranks, const Strings& more) {
  return run_process(train_command(run, name, ranks, more));
}

bool wait_until(Process& process, const std::function<bool()>& condition) {
  const auto deadline = steady_clock::now() + minutes(4);
  while (!condition()) {
    if (process.ended()) return condition();
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

pid_t pid_of_rank(const Process& launcher, int rank) {
  const std::string wanted = fmt::format("SEER_RANK={}", rank);
  const auto deadline = steady_clock::now() + minutes(1);
  while (steady_clock::now() < deadline) {
    std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", launcher.pid()));
    for (pid_t pid = 0; children >> pid;) {
      std::ifstream environment(fmt::format("/proc/{}/environ", pid));
      for (std::string entry; std::getline(environment, entry, '\0');) {
        if (entry == wanted) return pid;
      }
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  fail("process {} has started no rank {}", launcher.pid(), rank);
}

bool is_alive(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(status, text);
  return !text.empty() && text.find(") Z ") == std::string::npos;
}

std::string log_of_rank(const fs::path& run, int rank) {
  return read_text_file(run / "logs" / fmt::format("rank-{}.log", rank));
}

Strings last_words(const std::string& text) {
  Strings words;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("seer-train: ")) words.push_back(line);
  }
  return words;
}

StartedRanks::StartedRanks(const std::vector<Strings>& commands, int size) {
  // Free now: rank 0 takes it a moment later.
  const int port = port_of(listen_on(0, true));
  for (size_t rank = 0; rank < commands.size(); ++rank) {
    processes_.emplace_back(
        commands[rank],
        Process::Options{
            .environment = {
                {"RANK", std::to_string(rank)},
                {"WORLD_SIZE", std::to_string(size > 0 ? size : static_cast<int>(commands.size()))},
                {"MASTER_ADDR", "127.0.0.1"},
                {"MASTER_PORT", std::to_string(port)},
                {"SEER_SECRET", "0123456789abcdef0123456789abcdef"}}});
  }
}

std::vector<ProcessResult> StartedRanks::wait() {
  std::vector<ProcessResult> results;
  for (Process& process : processes_) results.push_back(process.wait());
  return results;
}

}  // namespace seer::test
