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
std::atomic<pid_t> launcher = 0;  // of this rank, 0 if it has none
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void say(std::string_view text) {
  // The progress line may hold the cursor.
  constexpr std::string_view kClearLine = "\r\x1b[K";
  if (on_terminal) [[maybe_unused]]
    const ssize_t cleared = ::write(STDERR_FILENO, kClearLine.data(), kClearLine.size());
  [[maybe_unused]] const ssize_t said = ::write(STDERR_FILENO, text.data(), text.size());
}

std::string_view request(int number) {
  switch (number) {
    case SIGUSR1:
      return "SIGUSR1: stopping after this step\n";
    case SIGINT:
      return "SIGINT: stopping after this step; again to quit at once\n";
    default:
      return "SIGTERM: stopping after this step; again to quit at once\n";
  }
}

/// Only async-signal-safe calls.
void handle(int number, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  int none = 0;
  const bool first = first_signal.compare_exchange_strong(none, number);
  const bool passed_on = launcher == 0 || info->si_pid == launcher;
  if (number == SIGUSR1 || !passed_on) {
    if (first) say(request(number));
  } else if (asked_by_user.exchange(true)) {
    say("stopped at once\n");
    ::_exit(130);
  } else {
    say(request(number));
  }
  errno = saved_errno;
}

}  // namespace

StopSignal::StopSignal(pid_t from) : old_{} {
  SEER_CHECK(!installed.exchange(true), "only one StopSignal may live at a time");
  first_signal = 0;
  asked_by_user = false;
  launcher = from;
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
