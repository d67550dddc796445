#include "trainer/progress.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

StepMetrics step_metrics(int64_t step, const std::vector<std::string>& gates = {"gate"}) {
  StepMetrics metrics{.step = step,
                      .tokens = step * 4096,
                      .tokens_per_second = 2048.4,
                      .seconds = 2.0 * static_cast<double>(step)};
  for (const std::string& gate : gates)
    metrics.gates.push_back({gate, 0.5 / static_cast<double>(step), {}, 1e-3, 0.25});
  return metrics;
}

/// Two ends of a pipe or of a pseudo-terminal.
struct Ends {
  int reader = -1;
  int writer = -1;

  static Ends pipe() {
    int ends[2];
    if (::pipe(ends) != 0) fail_errno("pipe", errno);
    return {ends[0], ends[1]};
  }
  static Ends terminal(unsigned short columns) {
    Ends ends;
    winsize size{};
    size.ws_col = columns;
    size.ws_row = 24;
    if (::openpty(&ends.reader, &ends.writer, nullptr, nullptr, &size) != 0) fail_errno("openpty", errno);
    return ends;
  }
  /// What has been written so far.
  std::string read() const {
    ::fcntl(reader, F_SETFL, O_NONBLOCK);
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t n; (n = ::read(reader, buffer.data(), buffer.size())) > 0;) text.append(buffer.data(), n);
    return text;
  }
};

class ProgressTest : public ::testing::Test {
 protected:
  void SetUp() override { ::setenv("TERM", "xterm", 1); }
  void TearDown() override {
    ::close(ends_.reader);
    ::close(ends_.writer);
  }

  Ends ends_;
};

/// The screen after what a terminal received: lines, with \r and "erase to the end of the line" obeyed.
std::vector<std::string> screen(const std::string& received) {
  std::vector<std::string> lines(1);
  size_t column = 0;
  for (size_t i = 0; i < received.size(); ++i) {
    std::string& line = lines.back();
    if (received[i] == '\r') {
      column = 0;
    } else if (received[i] == '\n') {
      lines.emplace_back();
    } else if (received.compare(i, 3, "\x1b[K") == 0) {
      line.resize(column);
      i += 2;
    } else {
      if (line.size() <= column) line.resize(column + 1, ' ');
      line[column++] = received[i];
    }
  }
  return lines;
}

TEST_F(ProgressTest, TerminalRewritesOneLine) {
  ends_ = Ends::terminal(100);
  Progress progress({.steps = 100, .log_every = 50, .fd = ends_.writer});
  progress.update(step_metrics(1));
  EXPECT_EQ(ends_.read(), "\rstep   1/100  loss 0.50000  2048 tok/s  lr 0.001  grad 0.25\x1b[K");
  progress.update(step_metrics(2));
  EXPECT_EQ(ends_.read(), "\rstep   2/100  loss 0.25000  2048 tok/s  3:16 left  lr 0.001  grad 0.25\x1b[K");
  progress.update(step_metrics(100));
  EXPECT_THAT(ends_.read(), HasSubstr("\rstep 100/100  loss 0.0050000  2048 tok/s  took 3:20  "));
  progress.finish();
  EXPECT_EQ(ends_.read(), "\r\n");  // the terminal driver adds the \r
  progress.finish();
  EXPECT_EQ(ends_.read(), "");
}

TEST_F(ProgressTest, LineNeverReachesTheTerminalsEdge) {
  ends_ = Ends::terminal(40);
  Progress progress({.steps = 100, .fd = ends_.writer});
  const std::vector<std::string> gates = {"one", "two", "three"};
  for (const unsigned short columns : {200, 120, 61, 60, 40, 30, 12, 5}) {
    winsize size{};
    size.ws_col = columns;
    ::ioctl(ends_.writer, TIOCSWINSZ, &size);
    progress.update(step_metrics(columns, gates));
    const std::string line = screen(ends_.read()).back();
    EXPECT_LT(line.size(), columns);
    EXPECT_TRUE(line.starts_with("step")) << line;
  }
}

TEST_F(ProgressTest, OtherOutputGoesAboveTheLine) {
  ends_ = Ends::terminal(100);
  Progress progress({.steps = 100, .fd = ends_.writer});
  const auto print = [&](const std::string& text) {
    progress.around(
        [&] { ASSERT_EQ(::write(ends_.writer, text.data(), text.size()), ssize_t(text.size())); });
  };
  print("before\n");
  progress.update(step_metrics(1));
  print("checkpoint saved\n");
  EXPECT_THROW(progress.around([] { fail("x"); }), Error);
  progress.update(step_metrics(2));
  const std::vector<std::string> lines = screen(ends_.read());
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0], "before");
  EXPECT_EQ(lines[1], "checkpoint saved");
  EXPECT_TRUE(lines[2].starts_with("step   2/100")) << lines[2];
}

TEST_F(ProgressTest, LogsOfOtherThreadsStayWhole) {
  ends_ = Ends::terminal(100);
  std::string received;
  Progress progress({.steps = 200, .fd = ends_.writer});
  std::thread logger([&] {
    for (int i = 0; i < 20; ++i) {
      progress.around([&] { ASSERT_EQ(::write(ends_.writer, "a line of log\n", 14), 14); });
    }
  });
  for (int64_t step = 1; step <= 20; ++step) progress.update(step_metrics(step));
  logger.join();
  std::vector<std::string> lines = screen(ends_.read());
  ASSERT_EQ(lines.size(), 21U);
  EXPECT_TRUE(lines.back().starts_with("step  20/200")) << lines.back();
  lines.pop_back();
  EXPECT_THAT(lines, ::testing::Each("a line of log"));
}

TEST_F(ProgressTest, PipeGetsPlainLines) {
  ends_ = Ends::pipe();
  Progress progress({.steps = 25, .log_every = 10, .fd = ends_.writer});
  for (int64_t step = 1; step <= 25; ++step) progress.update(step_metrics(step, {"a", "b"}));
  progress.around([] {});
  progress.finish();
  EXPECT_EQ(ends_.read(),
            "step 10/25  loss a 0.050000 b 0.050000  2048 tok/s  30 s left  lr a 0.001 b 0.001  grad a 0.25 "
            "b 0.25\n"
            "step 20/25  loss a 0.025000 b 0.025000  2048 tok/s  10 s left  lr a 0.001 b 0.001  grad a 0.25 "
            "b 0.25\n"
            "step 25/25  loss a 0.020000 b 0.020000  2048 tok/s  took 50 s  lr a 0.001 b 0.001  grad a 0.25 "
            "b 0.25\n");
}

TEST_F(ProgressTest, DumbTerminalGetsPlainLines) {
  ends_ = Ends::terminal(100);
  ::setenv("TERM", "dumb", 1);
  Progress progress({.steps = 2, .fd = ends_.writer});
  progress.update(step_metrics(1));
  EXPECT_THAT(ends_.read(), Not(HasSubstr("\x1b")));
}

TEST_F(ProgressTest, TimeLeftFollowsTheLatestSteps) {
  ends_ = Ends::pipe();
  Progress progress({.steps = 1000, .log_every = 200, .fd = ends_.writer});
  StepMetrics metrics = step_metrics(1);
  for (int64_t step = 1; step <= 200; ++step) {
    metrics.step = step;
    metrics.seconds += step <= 100 ? 60.0 : 0.5;  // a slow start, as after a cold page cache
    progress.update(metrics);
  }
  EXPECT_THAT(ends_.read(), HasSubstr("  6:40 left"));
}

TEST(FormatDuration, PicksItsUnits) {
  EXPECT_EQ(format_duration(-1), "0 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(3599), "59:59");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(86400 * 2 + 4 * 3600 + 5 * 60), "2d 04:05");
}

}  // namespace
}  // namespace seer
