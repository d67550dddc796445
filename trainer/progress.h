// What a run says while it trains: one line rewritten in place on a terminal, plain lines elsewhere. It goes
// to standard error, so that tables on standard output can be piped.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "trainer/metrics_log.h"

namespace seer {

/// On a terminal (TERM=dumb is none) each update rewrites the line, cut to the terminal's width; elsewhere it
/// prints a line every `log_every` steps and at the last one. The cursor is never hidden, so a killed run
/// leaves a sane terminal. A write that fails is ignored: the display is not the run. Thread-safe.
class Progress {
 public:
  struct Options {
    int64_t steps = 0;      ///< Of the whole run.
    int64_t log_every = 1;  ///< Steps between plain lines; at least 1.
    int fd = STDERR_FILENO;
  };

  explicit Progress(const Options& options);
  /// Ends the terminal line, as finish() does.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(const StepMetrics& metrics);

  /// Runs `print`, which writes other text to the same terminal, with the line out of its way, and brings the
  /// line back. `print` must not call this object.
  void around(const std::function<void()>& print);

  /// Leaves the line on screen and moves below it; the next update starts a new one. Does nothing when no
  /// line is shown.
  void finish();

 private:
  std::vector<std::string> fields(const StepMetrics& metrics);
  void write(const std::string& text);
  void show();

  Options options_;
  bool terminal_;
  std::mutex mutex_;
  std::vector<std::string> shown_;  ///< Fields of the line on screen; empty when there is none.
  std::deque<std::pair<int64_t, double>>
      recent_;  ///< (step, seconds) of the latest updates, for the time left.
};

/// 42 s, 3:07, 1:02:03 or 2d 04:05 for a number of seconds.
std::string format_duration(double seconds);

}  // namespace seer
