#include "src/core/log.h"

#include <memory>
#include <mutex>
#include <utility>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace seer::log {
namespace {

std::mutex wrapper_mutex;
std::function<void(const std::function<void()>&)> wrapper;  // guarded by wrapper_mutex

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto created = spdlog::stderr_color_mt("seer-train");
    created->set_pattern("%^[%H:%M:%S %l]%$ %v");
    return created;
  }();
  return *instance;
}

}  // namespace

void set_level(Level level) {
  logger().set_level(to_spdlog(level));
}

Wrapper::Wrapper(std::function<void(const std::function<void()>&)> around) {
  const std::lock_guard lock(wrapper_mutex);
  wrapper = std::move(around);
}

Wrapper::~Wrapper() {
  const std::lock_guard lock(wrapper_mutex);
  wrapper = nullptr;
}

void write(Level level, std::string_view message) {
  const auto line = [&] { logger().log(to_spdlog(level), message); };
  const std::lock_guard lock(wrapper_mutex);
  if (wrapper) return wrapper(line);
  line();
}

}  // namespace seer::log
