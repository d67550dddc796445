// The one exception type of the project, and the checks that throw it.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace seer {

/// What kind of mistake an Error reports; main() turns it into the exit code.
enum class ErrorKind {
  kRuntime,  ///< Bad data, a failing device, a full disk: exit code 1.
  kUsage,    ///< A wrong command line or config: exit code 2.
  kPeer,     ///< An exchange with other ranks failed: exit code 1; often another one's mistake.
};

/// Every failure of this project. The message says what was wrong, where (file, tensor, key, line) and what
/// was expected, in one sentence a user can act on.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorKind kind = ErrorKind::kRuntime)
      : std::runtime_error(message), kind_(kind) {}

  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws a run-time Error with the formatted message.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws a usage Error (exit code 2) with the formatted message.
template <typename... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...), ErrorKind::kUsage);
}

/// Throws a run-time Error whose message ends with the text of `error_number` (an errno value).
[[noreturn]] void fail_errno(const std::string& message, int error_number);

namespace detail {
[[noreturn]] void check_failed(const char* expression, const char* file, int line,
                               const std::string& message);
}

}  // namespace seer

/// Checks an internal invariant or the arguments of a call; the Error names expression, file, line and the
/// formatted values. For mistakes a user can make, write the `if` and call fail() with a sentence instead.
#define SEER_CHECK(condition, ...)                                                              \
  do {                                                                                          \
    if (!(condition)) [[unlikely]]                                                              \
      ::seer::detail::check_failed(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
  } while (false)
