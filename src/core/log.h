// Plain leveled log lines on standard error (spdlog behind it). Progress display and tables are not logs.
#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace seer::log {

enum class Level { kDebug, kInfo, kWarn, kError };

/// Lines below this level are dropped; the default is kInfo.
void set_level(Level level);

/// While it lives, every line is written through `around`, which calls its argument once: a progress display uses it to
/// keep out of the way. One at a time.
class Wrapper {
 public:
  explicit Wrapper(std::function<void(const std::function<void()>&)> around);
  ~Wrapper();
  Wrapper(const Wrapper&) = delete;
  Wrapper& operator=(const Wrapper&) = delete;
};

/// Writes one line. Thread-safe.
void write(Level level, std::string_view message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace seer::log
