#include "trainer/rank_process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

/// This process's environment with `additions` in front, and without what they replace: one "NAME=value" each.
std::vector<std::string> make_environment(const std::map<std::string, std::string>& additions) {
  std::vector<std::string> all;
  for (const auto& [name, value] : additions) all.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!additions.contains(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  return all;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

/// Between fork and exec: only async-signal-safe calls. Returns if exec failed.
void become(const char* program, char* const* arguments, char* const* environment, pid_t launcher, int output,
            int inherited_fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launcher) return;  // it died before the line above
  ::setpgid(0, 0);
  // The launcher blocks what it reads from a signalfd, and masks survive exec.
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Not the terminal's foreground group: `stty tostop` must not stop a rank that prints.
  ::signal(SIGTTOU, SIG_IGN);
  if (output >= 0) {
    const int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
  }
  if (inherited_fd >= 0) ::fcntl(inherited_fd, F_SETFD, 0);
  ::execve(program, arguments, environment);
}

}  // namespace

RankProcess::RankProcess(const Options& options) : rank_(options.rank) {
  const std::vector<std::string> environment = make_environment(options.environment);
  const std::vector<char*> argument_pointers = pointers(options.arguments);
  const std::vector<char*> environment_pointers = pointers(environment);
  Fd output;
  if (!options.own_output) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("cannot make a pipe for a rank's output", errno);
    output_ = Fd(ends[0]);
    output = Fd(ends[1]);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  }
  const pid_t launcher = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) fail_errno(fmt::format("cannot start rank {}", rank_), errno);
  if (pid_ == 0) {
    become(options.program.c_str(), argument_pointers.data(), environment_pointers.data(), launcher,
           output.get(), options.inherited_fd);
    const char* why = std::strerror(errno);
    for (const char* part : {"seer-train: cannot run ", options.program.c_str(), ": ", why, "\n"}) {
      [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, part, std::strlen(part));
    }
    ::_exit(127);
  }
}

RankProcess::RankProcess(RankProcess&& other) noexcept
    : rank_(other.rank_),
      pid_(std::exchange(other.pid_, -1)),
      status_(other.status_),
      output_(std::move(other.output_)) {}

RankProcess::~RankProcess() {
  if (pid_ < 0 || !running()) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool RankProcess::reap() {
  int status = 0;
  if (!running() || ::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  status_ = status;
  return true;
}

void RankProcess::signal(int number) const {
  if (running()) ::kill(pid_, number);
}

std::optional<int> RankProcess::exit_code() const {
  if (!status_ || !WIFEXITED(*status_)) return std::nullopt;
  return WEXITSTATUS(*status_);
}

int RankProcess::ending_signal() const {
  return status_ && WIFSIGNALED(*status_) ? WTERMSIG(*status_) : 0;
}

std::string RankProcess::how_it_ended() const {
  if (const auto code = exit_code()) return fmt::format("exited with code {}", *code);
  const int number = ending_signal();
  const char* name = ::sigabbrev_np(number);
  return fmt::format("was ended by SIG{} ({})", name == nullptr ? std::to_string(number) : name,
                     ::strsignal(number));
}

std::string RankProcess::read_output() {
  std::string text;
  std::array<char, 65536> buffer;
  while (output_.valid()) {
    const ssize_t n = ::read(output_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      output_ = Fd();
      break;
    }
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  return text;
}

}  // namespace seer
