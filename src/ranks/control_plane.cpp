#include "src/ranks/control_plane.h"

#include <algorithm>

#include <unistd.h>

#include "src/core/error.h"
#include "src/ranks/watch.h"

namespace seer {
namespace {

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

/// Where the other ends of the connections reach this host: not by loopback, unless all are on this machine. A rank on the
/// head's machine may have met it under a loopback name, as Debian gives hosts.
std::string reached_at(const std::vector<Connection>& connections, const std::vector<Member>& members) {
  std::string address;
  for (const Connection& connection : connections) {
    address = local_address(connection.fd());
    if (!is_loopback(address)) return address;
  }
  const bool one_machine = std::all_of(members.begin(), members.end(), [&](const Member& member) {
    return member.host == members.front().host;
  });
  if (one_machine) return address;
  for (const std::string& own : own_addresses()) {
    if (own != host_name() && !is_loopback(own)) return own;
  }
  return address;
}

}  // namespace

std::unique_ptr<ControlPlane> ControlPlane::join(JoinOptions options) {
  SEER_CHECK(options.rank >= 0 && options.rank < options.size, "rank {} of {}", options.rank, options.size);
  if (options.size == 1) {
    std::vector<Member> alone = {{0, options.host, ::getpid()}};
    return std::unique_ptr<ControlPlane>(new ControlPlane(0, std::move(alone), "127.0.0.1", nullptr));
  }
  Joined joined = options.rank == 0 ? gather_ranks(options) : report_to_head(options);
  const int rank = options.rank;
  std::vector<Member> members = joined.members;
  SEER_CHECK(members.size() == static_cast<size_t>(options.size), "{} members of {}", members.size(),
             options.size);
  std::string address = reached_at(joined.connections, joined.members);
  auto watch = std::make_unique<Watch>(std::move(options), std::move(joined));
  return std::unique_ptr<ControlPlane>(
      new ControlPlane(rank, std::move(members), std::move(address), std::move(watch)));
}

ControlPlane::ControlPlane(int rank, std::vector<Member> members, std::string local_address,
                           std::unique_ptr<Watch> watch)
    : rank_(rank),
      members_(std::move(members)),
      local_address_(std::move(local_address)),
      watch_(std::move(watch)) {}

ControlPlane::~ControlPlane() = default;

std::vector<std::string> ControlPlane::exchange(std::string_view mine) {
  if (!watch_) return {std::string(mine)};
  return watch_->exchange(mine);
}

void ControlPlane::leave() {
  if (watch_) watch_->leave();
}

void ControlPlane::abort(std::string_view why) noexcept {
  if (watch_) watch_->abort(why);
}

}  // namespace seer
