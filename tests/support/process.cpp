#include "tests/support/process.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer::test {
namespace {

int memory_file(const std::string& text = "") {
  const int fd = ::memfd_create("process", MFD_CLOEXEC);
  SEER_CHECK(fd >= 0, "memfd_create: {}", errno);
  SEER_CHECK(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "memfd: {}", errno);
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

std::string text_of(int fd) {
  std::string text(::lseek(fd, 0, SEEK_END), '\0');
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  text.resize(n > 0 ? n : 0);
  return text;
}

/// This process's environment, with `additions` in place of what they replace.
std::vector<std::string> environment_with(const std::map<std::string, std::string>& additions) {
  std::vector<std::string> all;
  for (const auto& [name, value] : additions) all.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!additions.contains(text.substr(0, text.find('=')))) all.push_back(text);
  }
  return all;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

}  // namespace

Process::Process(const std::vector<std::string>& argv, const Options& options)
    : out_(memory_file()), err_(memory_file()) {
  const std::vector<std::string> environment = environment_with(options.environment);
  const int in = memory_file(options.input);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out_, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err_, STDERR_FILENO);
  if (!options.folder.empty()) ::posix_spawn_file_actions_addchdir_np(&actions, options.folder.c_str());
  const int error = ::posix_spawn(&pid_, argv[0].c_str(), &actions, nullptr, pointers(argv).data(),
                                  pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in);
  if (error != 0) fail_errno("cannot start " + argv[0], error);
}

Process::~Process() {
  if (!reaped_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status_, 0);
  }
  ::close(out_);
  ::close(err_);
}

void Process::signal(int number) const {
  if (!reaped_) ::kill(pid_, number);
}

std::string Process::error_text() const {
  return text_of(err_);
}

bool Process::ended() {
  if (!reaped_) reaped_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
  return reaped_;
}

ProcessResult Process::wait() {
  if (!reaped_) {
    while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    reaped_ = true;
  }
  ProcessResult result;
  if (WIFEXITED(status_)) result.exit_code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) result.signal = WTERMSIG(status_);
  result.out = text_of(out_);
  result.err = text_of(err_);
  return result;
}

ProcessResult run_process(const std::vector<std::string>& argv, const Process::Options& options) {
  return Process(argv, options).wait();
}

}  // namespace seer::test
