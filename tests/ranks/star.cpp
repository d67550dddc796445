#include "tests/ranks/star.h"

#include <fmt/format.h>

namespace seer::test {

Star::Star(int size, std::chrono::milliseconds timeout)
    : size_(size), timeout_(timeout), listener_(listen_on(0, true)), port_(port_of(listener_)) {}

JoinOptions Star::options(int rank) {
  JoinOptions options;
  options.rank = rank;
  options.size = size_;
  options.join_timeout = timeout_;
  options.timeout = timeout_;
  options.host = fmt::format("h{}", rank);
  options.secret = "a secret";
  if (rank == 0) {
    options.listener = std::move(listener_);
  } else {
    // In a forked rank this is a copy that would keep the port open after rank 0 has closed it.
    listener_ = Fd();
    options.find_head = [this] { return HeadAddress{{"127.0.0.1"}, port_, "a secret"}; };
  }
  return options;
}

}  // namespace seer::test
