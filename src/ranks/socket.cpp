#include "src/ranks/socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <system_error>

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr int kBacklog = 1024;
/// Of one address among several: one that swallows packets must not use up the whole time.
constexpr std::chrono::seconds kConnectLimit{3};

void set_option(const Fd& fd, int level, int option, int value) {
  ::setsockopt(fd.get(), level, option, &value, sizeof(value));
}

std::string error_text(int error) {
  return std::generic_category().message(error);
}

std::string numeric(const sockaddr* address, socklen_t length) {
  std::array<char, NI_MAXHOST> host{};
  if (::getnameinfo(address, length, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) return "?";
  return host.data();
}

/// A listening socket of one family, or invalid with errno set.
Fd try_listen(int family, int port, bool this_machine_only) {
  Fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fd;
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  sockaddr_storage storage{};
  socklen_t length = 0;
  if (family == AF_INET6) {
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    *address = {
        .sin6_family = AF_INET6, .sin6_port = htons(static_cast<uint16_t>(port)), .sin6_addr = in6addr_any};
    length = sizeof(*address);
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage);
    *address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
    address->sin_addr.s_addr = htonl(this_machine_only ? INADDR_LOOPBACK : INADDR_ANY);
    length = sizeof(*address);
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    const int error = errno;
    fd = Fd();
    errno = error;
  }
  return fd;
}

/// Waits for a connection under way; 0 or the error.
int finish_connect(const Fd& fd, Clock::time_point deadline) {
  pollfd wait{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&wait, 1, poll_timeout(deadline));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

}  // namespace

Fd listen_on(int port, bool this_machine_only) {
  Fd fd;
  // One IPv6 socket takes IPv4 as well; machines without IPv6 take the other.
  if (!this_machine_only) fd = try_listen(AF_INET6, port, false);
  if (!fd.valid()) fd = try_listen(AF_INET, port, this_machine_only);
  if (!fd.valid()) {
    const int error = errno;
    if (port == 0) fail_errno("cannot listen on a TCP port", error);
    fail_errno(fmt::format("cannot listen on TCP port {} (MASTER_PORT names another)", port), error);
  }
  return fd;
}

Fd adopt_listener(int fd) {
  int listens = 0;
  socklen_t length = sizeof(listens);
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0) {
    fail("SEER_LISTEN_FD={} is no listening socket", fd);
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return Fd(fd);
}

int port_of(const Fd& listener) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&storage), &length);
  return ntohs(storage.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port
                                             : reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

Fd accept_from(const Fd& listener, std::string& peer) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  Fd fd(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&storage), &length,
                  SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd.valid()) {
    if (errno == EMFILE || errno == ENFILE) {
      fail_errno("cannot accept the connection of another rank (ulimit -n sets the limit)", errno);
    }
    return fd;  // none waits, or it went away again
  }
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  peer = numeric(reinterpret_cast<const sockaddr*>(&storage), length);
  return fd;
}

Fd connect_to(const std::string& host, int port, Clock::time_point deadline, std::string& why) {
  const addrinfo hints{.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
      error != 0) {
    why = fmt::format("{}: {}", host, ::gai_strerror(error));
    return Fd();
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, ::freeaddrinfo);
  for (const addrinfo* a = all.get(); a != nullptr; a = a->ai_next) {
    Fd fd(::socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol));
    int error = fd.valid() ? 0 : errno;
    if (error == 0 && ::connect(fd.get(), a->ai_addr, a->ai_addrlen) != 0) {
      error =
          errno == EINPROGRESS ? finish_connect(fd, std::min(deadline, Clock::now() + kConnectLimit)) : errno;
    }
    if (error == 0) {
      set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
      return fd;
    }
    why = fmt::format("{} port {}: {}", host, port, error_text(error));
  }
  return Fd();
}

std::string local_address(int connection) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (::getsockname(connection, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    fail_errno("cannot tell the address of a connection", errno);
  }
  std::string address = numeric(reinterpret_cast<const sockaddr*>(&storage), length);
  constexpr std::string_view kMapped = "::ffff:";  // an IPv4 address as a socket for both kinds writes it
  if (address.starts_with(kMapped)) address.erase(0, kMapped.size());
  return address;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> names = {host_name()};
  std::vector<std::string> loopback;
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) return names;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(found, ::freeifaddrs);
  for (const ifaddrs* a = all.get(); a != nullptr; a = a->ifa_next) {
    if (a->ifa_addr == nullptr || (a->ifa_flags & IFF_UP) == 0) continue;
    const int family = a->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    const auto length =
        static_cast<socklen_t>(family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    const std::string address = numeric(a->ifa_addr, length);
    if (address.find('%') != std::string::npos) continue;  // link-local: another host's %eth0 is its own
    ((a->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : names).push_back(address);
  }
  names.insert(names.end(), loopback.begin(), loopback.end());
  return names;
}

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  ::gethostname(name.data(), HOST_NAME_MAX);
  return name.data();
}

void allow_open_files(size_t files) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= files) return;
  limit.rlim_cur = std::min<rlim_t>(files, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int poll_timeout(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX));
}

}  // namespace seer
