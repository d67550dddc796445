#include "trainer/progress.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include <sys/ioctl.h>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";
constexpr size_t kRecentUpdates = 50;

bool is_terminal(int fd) {
  const char* term = std::getenv("TERM");
  return ::isatty(fd) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

size_t terminal_width(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

/// As many leading fields as fit; the first one always, cut if need be.
std::string join(const std::vector<std::string>& fields, size_t width) {
  std::string line;
  for (const std::string& field : fields) {
    if (line.empty()) {
      line = field.substr(0, width);
      continue;
    }
    if (line.size() + 2 + field.size() > width) break;
    line += "  " + field;
  }
  return line;
}

}  // namespace

Progress::Progress(const Options& options) : options_(options), terminal_(is_terminal(options.fd)) {
  SEER_CHECK(options.log_every >= 1, "log_every is {}", options.log_every);
}

Progress::~Progress() {
  finish();
}

void Progress::update(const StepMetrics& metrics) {
  const std::lock_guard lock(mutex_);
  const std::vector<std::string> now = fields(metrics);
  if (terminal_) {
    shown_ = now;
    show();
  } else if (metrics.step % options_.log_every == 0 || metrics.step == options_.steps) {
    write(join(now, std::string::npos) + "\n");
  }
}

void Progress::around(const std::function<void()>& print) {
  const std::lock_guard lock(mutex_);
  if (shown_.empty()) return print();
  write(std::string(kClearLine));
  print();
  show();
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (shown_.empty()) return;
  shown_.clear();
  write("\n");
}

/// The most wanted first: a narrow terminal shows fewer.
std::vector<std::string> Progress::fields(const StepMetrics& metrics) {
  const std::string steps = std::to_string(options_.steps);
  std::vector<std::string> result = {fmt::format("step {:>{}}/{}", metrics.step, steps.size(), steps)};
  std::string loss = "loss";
  std::string rate = "lr";
  std::string norm = "grad";
  for (const GateMetrics& gate : metrics.gates) {
    const std::string name = metrics.gates.size() > 1 ? " " + gate.name : "";
    loss += fmt::format("{} {:#.5g}", name, gate.loss);
    rate += fmt::format("{} {:.3g}", name, gate.learning_rate);
    norm += fmt::format("{} {:.3g}", name, gate.grad_norm);
  }
  result.push_back(loss);
  result.push_back(fmt::format("{:.0f} tok/s", metrics.tokens_per_second));

  recent_.emplace_back(metrics.step, metrics.seconds);
  if (recent_.size() > kRecentUpdates) recent_.pop_front();
  const auto [first_step, first_seconds] = recent_.front();
  if (metrics.step >= options_.steps) {
    result.push_back(fmt::format("took {}", format_duration(metrics.seconds)));
  } else if (metrics.step > first_step) {
    const double step_seconds =
        (metrics.seconds - first_seconds) / static_cast<double>(metrics.step - first_step);
    const auto steps_left = static_cast<double>(options_.steps - metrics.step);
    result.push_back(fmt::format("{} left", format_duration(step_seconds * steps_left)));
  }
  result.push_back(rate);
  result.push_back(norm);
  return result;
}

void Progress::write(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t n = ::write(options_.fd, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    rest.remove_prefix(static_cast<size_t>(n));
  }
}

/// One write for the whole line, so that the terminal never draws half of it; the last column stays free, as
/// filling it wraps.
void Progress::show() {
  write(fmt::format("\r{}\x1b[K", join(shown_, terminal_width(options_.fd) - 1)));
}

std::string format_duration(double seconds) {
  const int64_t total = std::llround(std::max(0.0, seconds));
  const int64_t minutes = total / 60;
  const int64_t hours = minutes / 60;
  if (hours >= 24) return fmt::format("{}d {:02}:{:02}", hours / 24, hours % 24, minutes % 60);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes % 60, total % 60);
  if (minutes > 0) return fmt::format("{}:{:02}", minutes, total % 60);
  return fmt::format("{} s", total);
}

}  // namespace seer
