// A rank as small as it can be, for tests of launchers: joins, exchanges, prints one line, then does what it is told.
//   rank_helper FOLDER [ACTION ...] [--resume]
//   make-run      rank 0 makes FOLDER with a config.json, before anything else
//   exit:R:C      rank R fails with code C after all have joined; `exit:all:C`: every rank, before joining
//   signal:R:S    rank R sends itself signal S after all have joined
//   first-start   the actions behind it are for the first start only, not for restarts
//   wait          the ranks stay until SIGTERM, SIGINT or SIGUSR1, then end with 75
//   lines:N       every rank prints N lines
//   deaf          SIGTERM is ignored
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/ranks/rendezvous.h"

namespace seer::test {
namespace {

volatile std::sig_atomic_t stopped = 0;

struct Action {
  std::string name;
  std::string who;
  int value = 0;

  bool of(int rank) const { return who == "all" || who == std::to_string(rank); }
};

Action parse(const std::string& text) {
  const size_t first = text.find(':');
  if (first == std::string::npos) return {text, "all"};
  const size_t second = text.find(':', first + 1);
  if (second == std::string::npos) return {text.substr(0, first), "all", std::atoi(text.c_str() + first + 1)};
  return {text.substr(0, first), text.substr(first + 1, second - first - 1),
          std::atoi(text.c_str() + second + 1)};
}

int run(int argc, char** argv) {
  const Environment environment = current_environment();
  RankInfo info = read_launch_env(environment);
  std::vector<Action> actions;
  const auto restarts = environment.find("SEER_RESTART_COUNT");
  const bool restarted = restarts != environment.end() && restarts->second != "0";
  bool resume = false;
  for (int i = 2; i < argc; ++i) {
    const std::string text = argv[i];
    if (text == "--resume") resume = true;
    if (text == "first-start" && restarted) break;
    actions.push_back(parse(text));
  }
  if (argc > 2 && std::string(argv[argc - 1]) == "--resume") resume = true;
  const auto find = [&](const std::string& name) -> const Action* {
    for (const Action& action : actions) {
      if (action.name == name && action.of(info.rank)) return &action;
    }
    return nullptr;
  };
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) std::signal(number, [](int n) { stopped = n; });
  if (find("deaf")) std::signal(SIGTERM, SIG_IGN);
  if (find("make-run") && info.rank == 0) {
    std::filesystem::create_directories(argv[1]);
    std::ofstream(std::filesystem::path(argv[1]) / "config.json") << "{}";
  }
  if (const Action* leave = find("exit"); leave && leave->who == "all")
    fail("gave up before the others came");

  const auto plane = rendezvous(
      info, environment,
      {.run_folder = argv[1], .join_timeout = std::chrono::seconds(20), .timeout = std::chrono::seconds(2)});
  std::string all;
  for (const std::string& share :
       plane->exchange(fmt::format("{}@{} ", info.rank, plane->members()[info.rank].host)))
    all += share;
  const auto gpu = environment.find("SEER_GPU");
  fmt::print("rank {} of {}, local {} of {}, nodes {}, by {}, gpu {}, resume {}: {}\n", info.rank, info.size,
             info.local_rank, info.local_size, info.nodes, info.source,
             gpu == environment.end() ? "none" : gpu->second, resume ? 1 : 0, all);
  if (const Action* lines = find("lines")) {
    for (int i = 0; i < lines->value; ++i) fmt::print("line {} of rank {}\n", i, info.rank);
  }
  std::fflush(stdout);
  plane->exchange("");
  if (const Action* leave = find("exit")) {
    plane->abort("told to");
    fmt::print(stderr, "seer-train: told to fail\n");
    return leave->value;
  }
  if (const Action* signal = find("signal")) {
    std::fflush(nullptr);
    ::raise(signal->value);
  }
  bool waits = find("wait") != nullptr;
  for (const Action& action : actions) waits = waits || action.name == "signal" || action.name == "exit";
  while (waits && stopped == 0) ::usleep(1000);
  plane->leave();
  return waits ? 75 : 0;
}

}  // namespace
}  // namespace seer::test

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  try {
    return seer::test::run(argc, argv);
  } catch (const seer::Error& e) {
    fmt::print(stderr, "seer-train: {}\n", e.what());
    return e.kind() == seer::ErrorKind::kUsage ? 2 : 1;
  }
}
