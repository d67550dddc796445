#include "trainer/launcher.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <deque>
#include <map>
#include <optional>
#include <string_view>

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/ranks/control_plane.h"
#include "src/ranks/proof.h"
#include "src/ranks/socket.h"
#include "trainer/rank_log.h"
#include "trainer/rank_process.h"
#include "trainer/run_folder.h"
#include "trainer/train_loop.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterruptedTwice = 130;
/// Between two looks whether rank 0 has made the run folder.
constexpr std::chrono::milliseconds kFolderLook{200};
constexpr size_t kLinesShown = 20;

void say(const std::string& text) {
  const std::string line = fmt::format("seer-train: {}\n", text);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

/// Signals as something to poll, while it lives.
class Signals {
 public:
  Signals() {
    ::signal(SIGCHLD, SIG_DFL);  // a parent that ignores it passes that on, and nothing could be reaped
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGCHLD}) sigaddset(&set, number);
    ::sigprocmask(SIG_BLOCK, &set, &old_);
    fd_ = Fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!fd_.valid()) fail_errno("cannot make a signalfd", errno);
  }
  ~Signals() { ::sigprocmask(SIG_SETMASK, &old_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_.get(); }
  /// The next one that has arrived, or 0.
  int next() const {
    signalfd_siginfo info{};
    return ::read(fd_.get(), &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t old_{};
  Fd fd_;
};

bool ended_well(const RankProcess& process) {
  const auto code = process.exit_code();
  return code && (*code == kExitDone || *code == kExitStoppedEarly);
}

bool lost_a_peer(const RankProcess& process) {
  return process.exit_code() == kExitPeerLost;
}

/// All ranks, started once.
class Start {
 public:
  Start(const LaunchPlan& plan, int restart, bool logs, Signals& signals)
      : plan_(plan), signals_(signals), may_write_logs_(logs) {
    std::vector<std::string> command = plan.command;
    const bool resumes = std::find(command.begin(), command.end(), "--resume") != command.end();
    if (restart > 0 && !resumes && RunPaths{plan.run_folder}.holds_run()) command.emplace_back("--resume");
    // Bound here, so that no other process can take the port before rank 0 listens.
    const Fd listener = plan.ranks > 1 ? listen_on(0, true) : Fd();
    std::map<std::string, std::string> environment = {{"SEER_WORLD_SIZE", std::to_string(plan.ranks)},
                                                      {"SEER_RESTART_COUNT", std::to_string(restart)},
                                                      {"SEER_SECRET", make_secret()}};
    if (listener.valid()) environment["SEER_PORT"] = std::to_string(port_of(listener));
    for (int rank = 0; rank < plan.ranks; ++rank) {
      RankProcess::Options options{.rank = rank,
                                   .program = plan.program,
                                   .arguments = command,
                                   .environment = environment,
                                   .own_output = rank == 0};
      options.environment["SEER_RANK"] = options.environment["SEER_LOCAL_RANK"] = std::to_string(rank);
      if (!plan.gpus.empty()) options.environment["SEER_GPU"] = std::to_string(plan.gpus[rank]);
      if (rank == 0 && listener.valid()) {
        options.environment["SEER_LISTEN_FD"] = std::to_string(listener.get());
        options.inherited_fd = listener.get();
      }
      processes_.emplace_back(options);
      logs_.emplace_back(rank, plan.verbose);
      note_start(rank, restart);
    }
  }

  /// Until the last rank has ended. Returns the exit code of the whole and has said what went wrong.
  int run() {
    while (
        std::any_of(processes_.begin(), processes_.end(), [](const RankProcess& p) { return p.running(); })) {
      wait();
      while (const int number = signals_.next()) {
        if (number != SIGCHLD) pass_on(number);
      }
      reap();
      end_the_rest();
      read_output();
    }
    read_output();
    return conclude();
  }

  /// The first SIGTERM, SIGINT or SIGUSR1, or 0.
  int stopped_by() const { return stopped_by_; }

 private:
  /// Between the output of two starts in one log.
  void note_start(int rank, int restart) {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    std::array<char, 64> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local);
    if (rank == 0) return;
    logs_[rank].add(fmt::format("== {}: rank {} of {}, pid {}, restart {}\n", text.data(), rank, plan_.ranks,
                                processes_[rank].pid(), restart));
  }

  void wait() {
    std::vector<pollfd> polled = {{signals_.fd(), POLLIN, 0}};
    for (const RankProcess& process : processes_) {
      if (process.output() >= 0) polled.push_back({process.output(), POLLIN, 0});
    }
    int timeout = -1;
    if (deadline_) timeout = poll_timeout(*deadline_);
    const auto look = static_cast<int>(kFolderLook.count());
    if (may_write_logs_ && !logs_open_) timeout = timeout < 0 ? look : std::min(timeout, look);
    ::poll(polled.data(), polled.size(), timeout);
  }

  void pass_on(int number) {
    if (stopped_by_ == 0) stopped_by_ = number;
    for (const RankProcess& process : processes_) process.signal(number);
  }

  void reap() {
    std::vector<const RankProcess*> now;
    for (RankProcess& process : processes_) {
      if (process.reap()) now.push_back(&process);
    }
    // Of those seen at once, a rank that a signal ended came before ranks that noticed.
    std::stable_partition(now.begin(), now.end(),
                          [](const RankProcess* p) { return p->ending_signal() != 0; });
    ended_.insert(ended_.end(), now.begin(), now.end());
    const bool failed =
        std::any_of(now.begin(), now.end(), [](const RankProcess* p) { return !ended_well(*p); });
    if (failed && !deadline_) deadline_ = Clock::now() + plan_.grace;
  }

  /// The others have heard of a failure from the control plane; who is still here is stuck, or stopped.
  void end_the_rest() {
    if (!deadline_ || Clock::now() < *deadline_) return;
    const bool told = forced_ != 0;
    forced_ = told ? SIGKILL : SIGTERM;
    for (const RankProcess& process : processes_) {
      if (process.running() && !told) forcibly_.push_back(&process);
      process.signal(forced_);
    }
    deadline_ = Clock::now() + plan_.grace;
  }

  void read_output() {
    for (size_t rank = 0; rank < processes_.size(); ++rank) logs_[rank].add(processes_[rank].read_output());
    if (!may_write_logs_ || logs_open_ || !RunPaths{plan_.run_folder}.holds_run()) return;
    for (size_t rank = 1; rank < logs_.size(); ++rank) logs_[rank].open(plan_.run_folder);
    logs_open_ = true;
  }

  bool all_ended_with(int code) const {
    return std::all_of(processes_.begin(), processes_.end(),
                       [&](const RankProcess& p) { return p.exit_code() == code; });
  }

  /// The rank that failed first: those that lost a peer only followed it.
  const RankProcess& culprit() const {
    for (const RankProcess* process : ended_) {
      if (!ended_well(*process) && !lost_a_peer(*process)) return *process;
    }
    return **std::find_if(ended_.begin(), ended_.end(), [](const RankProcess* p) { return !ended_well(*p); });
  }

  int conclude() const {
    if (all_ended_with(kExitDone)) return kExitDone;
    const bool all_well = std::all_of(processes_.begin(), processes_.end(), ended_well);
    if (all_ended_with(kExitStoppedEarly)) return kExitStoppedEarly;
    if (all_well) {
      say("some ranks finished, others stopped early: the run is as its newest checkpoint says");
      return kExitFailure;
    }
    const RankProcess& first = culprit();
    if (stopped_by_ != 0 && first.exit_code() == kExitInterruptedTwice) return kExitInterruptedTwice;
    if (stopped_by_ != 0 && first.ending_signal() == stopped_by_) {
      say(fmt::format("stopped by SIG{} before the training could save", ::sigabbrev_np(stopped_by_)));
      return 128 + stopped_by_;
    }
    // Rank 0 has said on the terminal what is wrong, and all ranks say the same of a usage error.
    const bool said = first.exit_code() == kExitUsage && processes_[0].exit_code() == kExitUsage;
    if (!said) blame(first);
    return first.exit_code() == kExitUsage ? kExitUsage : kExitFailure;
  }

  void blame(const RankProcess& process) const {
    const RankLog& log = logs_[process.rank()];
    const bool hung = process.ending_signal() != 0 &&
                      std::find(forcibly_.begin(), forcibly_.end(), &process) != forcibly_.end();
    std::string text =
        fmt::format("rank {} (pid {}) {}", process.rank(), process.pid(),
                    hung ? "was stopped or stuck: it did not end after the others and was killed"
                         : process.how_it_ended());
    if (!log.last_error().empty()) text += fmt::format(": {}", log.last_error());
    if (process.rank() == 0) {
      text += " (its output is above)";
    } else if (log.opened()) {
      text += fmt::format(" (its log: {})", log.path().string());
    }
    say(text);
    if (process.rank() != 0 && !log.opened() && !plan_.verbose) show_end_of(log, process.rank());
  }

  /// There is no log: the run folder was never made.
  static void show_end_of(const RankLog& log, int rank) {
    const std::string& text = log.kept();
    size_t begin = text.size();
    for (size_t line = 0; line <= kLinesShown && begin != std::string::npos && begin > 0; ++line) {
      begin = text.rfind('\n', begin - 1);
    }
    begin = begin == std::string::npos || begin == 0 ? 0 : begin + 1;
    while (begin < text.size()) {
      const size_t end = text.find('\n', begin);
      fmt::print(stderr, "[rank {}] {}\n", rank, text.substr(begin, end - begin));
      begin = end + 1;
    }
  }

  const LaunchPlan& plan_;
  Signals& signals_;
  const bool may_write_logs_;
  bool logs_open_ = false;
  std::deque<RankProcess> processes_;  ///< By rank, as are logs_; their addresses stay
  std::deque<RankLog> logs_;
  std::vector<const RankProcess*> ended_;     ///< In that order
  std::vector<const RankProcess*> forcibly_;  ///< Those that end_the_rest() found
  std::optional<Clock::time_point> deadline_;
  int forced_ = 0;  ///< The last signal of end_the_rest()
  int stopped_by_ = 0;
};

}  // namespace

int launch(const LaunchPlan& plan) {
  SEER_CHECK(plan.gpus.empty() || plan.gpus.size() == static_cast<size_t>(plan.ranks), "{} GPUs for {} ranks",
             plan.gpus.size(), plan.ranks);
  Signals signals;
  const RunPaths paths{plan.run_folder};
  const bool resumes = std::find(plan.command.begin(), plan.command.end(), "--resume") != plan.command.end();
  // A new training refuses a folder that holds a run: nothing may be written to that one.
  const bool own_folder = resumes || !paths.holds_run();
  for (int restart = 0;; ++restart) {
    Start start(plan, restart, own_folder, signals);
    const int code = start.run();
    if (code != kExitFailure || start.stopped_by() != 0 || restart == plan.max_restarts) return code;
    say(fmt::format("restart {} of {}, {}", restart + 1, plan.max_restarts,
                    paths.holds_run() ? "from the newest checkpoint" : "from the beginning"));
  }
}

std::vector<std::string> without_launch_flags(const std::vector<std::string>& arguments) {
  std::vector<std::string> kept;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string name = arguments[i].substr(0, arguments[i].find('='));
    if (name != "--gpus" && name != "--ranks" && name != "--max-restarts") {
      kept.push_back(arguments[i]);
    } else if (name == arguments[i]) {
      ++i;  // its value
    }
  }
  return kept;
}

std::vector<int> parse_gpus(const std::string& text, int count) {
  std::vector<int> gpus;
  if (count == 0) fail("--gpus {}: this machine has no GPU that can be used", text);
  if (text == "all") {
    for (int gpu = 0; gpu < count; ++gpu) gpus.push_back(gpu);
    return gpus;
  }
  const char* const end = text.data() + text.size();
  for (const char* at = text.data();; ++at) {
    int gpu = -1;
    const auto [next, error] = std::from_chars(at, end, gpu);
    if (error != std::errc() || gpu < 0 || (next != end && *next != ',')) {
      fail_usage("--gpus {}: numbers of GPUs (0,1,3) or \"all\" were expected", text);
    }
    if (gpu >= count) fail_usage("--gpus {}: this machine has GPUs 0 to {}", text, count - 1);
    if (std::find(gpus.begin(), gpus.end(), gpu) != gpus.end())
      fail_usage("--gpus {}: GPU {} is named twice", text, gpu);
    gpus.push_back(gpu);
    if (next == end) return gpus;
    at = next;
  }
}

}  // namespace seer
