#include "src/core/error.h"

#include <cstring>

namespace seer {

void fail_errno(const std::string& message, int error_number) {
  char buffer[256];
  // GNU strerror_r returns the text, which need not be in the buffer.
  throw Error(fmt::format("{}: {}", message, strerror_r(error_number, buffer, sizeof(buffer))));
}

namespace detail {

void check_failed(const char* expression, const char* file, int line, const std::string& message) {
  throw Error(fmt::format("internal check failed at {}:{}: {} ({})", file, line, expression, message));
}

}  // namespace detail
}  // namespace seer
