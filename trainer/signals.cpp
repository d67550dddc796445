#include "trainer/signals.h"

#include <atomic>
#include <cerrno>
#include <string_view>

#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

// What the handler touches has to be global and lock-free.
std::atomic<bool> installed = false;
std::atomic<int> first_signal = 0;
std::atomic<bool> asked_by_user = false;  // by SIGINT or SIGTERM
std::atomic<bool> on_terminal = false;
std::atomic<const char*> unit = "";
std::atomic<pid_t> launcher = 0;  // of this rank, 0 if it has none
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free &&
              std::atomic<const char*>::is_always_lock_free);

void say(std::string_view text) {
  [[maybe_unused]] const ssize_t said = ::write(STDERR_FILENO, text.data(), text.size());
}

/// In pieces: there is no formatting in a signal handler.
void say_request(int number) {
  if (on_terminal) say("\r\x1b[K");  // the progress line may hold the cursor
  say(number == SIGUSR1 ? "SIGUSR1" : number == SIGINT ? "SIGINT" : "SIGTERM");
  say(": stopping after this ");
  say(unit.load());
  say(number == SIGUSR1 ? "\n" : "; again to quit at once\n");
}

/// Only async-signal-safe calls.
void handle(int number, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  int none = 0;
  const bool first = first_signal.compare_exchange_strong(none, number);
  const bool passed_on = launcher == 0 || info->si_pid == launcher;
  if (number == SIGUSR1 || !passed_on) {
    if (first) say_request(number);
  } else if (asked_by_user.exchange(true)) {
    if (on_terminal) say("\r\x1b[K");
    say("stopped at once\n");
    ::_exit(130);
  } else {
    say_request(number);
  }
  errno = saved_errno;
}

}  // namespace

StopSignal::StopSignal(pid_t from, const char* finished) : old_{} {
  SEER_CHECK(!installed.exchange(true), "only one StopSignal may live at a time");
  first_signal = 0;
  asked_by_user = false;
  launcher = from;
  unit = finished;
  on_terminal = ::isatty(STDERR_FILENO) == 1;
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  for (const int number : kSignals) sigaddset(&action.sa_mask, number);
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &old_[i]);
}

StopSignal::~StopSignal() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &old_[i], nullptr);
  installed = false;
}

int StopSignal::signal() const {
  return first_signal;
}

}  // namespace seer
