#include "src/ranks/rendezvous.h"

#include <charconv>
#include <optional>
#include <set>

#include "src/core/error.h"
#include "src/ranks/proof.h"
#include "src/ranks/token_file.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

constexpr size_t kShortestSecret = 16;
constexpr int kFirstPort = 20000;
constexpr int kPorts = 12000;

std::string variable(const Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

JoinOptions common_options(const RankInfo& info, const RendezvousOptions& options) {
  JoinOptions join;
  join.rank = info.rank;
  join.size = info.size;
  join.join_timeout = options.join_timeout;
  join.timeout = options.timeout;
  join.on_failure = options.on_failure;
  return join;
}

std::unique_ptr<ControlPlane> join_at(const HeadAddress& head, JoinOptions join) {
  join.secret = head.secret;
  join.find_head = [head] { return head; };
  return ControlPlane::join(std::move(join));
}

/// The launcher listens before it starts anybody and hands rank 0 the socket: no port can be taken in between.
std::unique_ptr<ControlPlane> meet_by_launcher(const RankInfo& info, const Environment& environment,
                                               JoinOptions join) {
  const std::string secret = variable(environment, "SEER_SECRET");
  if (secret.empty()) fail_usage("SEER_RANK is set, but SEER_SECRET is not: seer-train's launcher sets both");
  if (info.rank == 0) {
    const std::string text = variable(environment, "SEER_LISTEN_FD");
    int fd = -1;
    std::from_chars(text.data(), text.data() + text.size(), fd);
    if (fd < 0) fail_usage("SEER_LISTEN_FD=\"{}\": rank 0 expects the number of an open socket", text);
    join.listener = adopt_listener(fd);
  } else if (info.port == 0) {
    fail_usage("SEER_RANK is set, but SEER_PORT is not: seer-train's launcher sets both");
  }
  return join_at({{info.head_host}, info.port, secret}, std::move(join));
}

std::unique_ptr<ControlPlane> meet_by_secret(const RankInfo& info, const std::string& secret,
                                             JoinOptions join) {
  if (secret.size() < kShortestSecret) {
    fail_usage(
        "SEER_SECRET has {} characters, at least {} are expected: export SEER_SECRET=$(openssl rand -hex 32)",
        secret.size(), kShortestSecret);
  }
  if (info.head_host.empty() && info.nodes != 1) {
    fail_usage(
        "SEER_SECRET is set, but nothing says where rank 0 runs: set MASTER_ADDR to its host (started by {})",
        info.source);
  }
  HeadAddress head{{info.head_host.empty() ? "127.0.0.1" : info.head_host}, info.port, secret};
  if (head.port == 0) head.port = port_of_job(info.job);
  if (info.rank == 0) join.listener = listen_on(head.port, info.head_host.empty());
  return join_at(head, std::move(join));
}

std::unique_ptr<ControlPlane> meet_by_token(const RankInfo& info, const fs::path& run_folder,
                                            JoinOptions join) {
  const fs::path path = TokenFile::path(run_folder, info.job);
  const std::string advice = fmt::format(
      "output.dir has to be a folder that all nodes share, or give all ranks the same SEER_SECRET and, as "
      "MASTER_ADDR, "
      "rank 0's host");
  if (info.rank != 0) {
    join.find_head = [path] { return TokenFile::read(path); };
    join.head_unknown = fmt::format("rank 0 left no {}: {}", path.string(), advice);
    return ControlPlane::join(std::move(join));
  }
  join.listener = listen_on(0, false);
  const HeadAddress head{own_addresses(), port_of(join.listener), make_secret()};
  const TokenFile token(path, head);
  join.secret = head.secret;
  try {
    return ControlPlane::join(std::move(join));
  } catch (const Error& e) {
    if (info.nodes == 1) throw;
    fail("{} ({})", e.what(), advice);
  }
}

}  // namespace

std::unique_ptr<ControlPlane> rendezvous(RankInfo& info, const Environment& environment,
                                         const RendezvousOptions& options) {
  JoinOptions join = common_options(info, options);
  const std::string secret = variable(environment, "SEER_SECRET");
  std::unique_ptr<ControlPlane> plane;
  if (info.alone()) {
    plane = ControlPlane::join(std::move(join));
  } else if (!variable(environment, "SEER_RANK").empty()) {
    plane = meet_by_launcher(info, environment, std::move(join));
  } else if (!secret.empty()) {
    plane = meet_by_secret(info, secret, std::move(join));
  } else {
    plane = meet_by_token(info, options.run_folder, std::move(join));
  }
  fill_in_layout(info, plane->members());
  return plane;
}

void fill_in_layout(RankInfo& info, const std::vector<Member>& members) {
  int before = 0;
  int here = 0;
  std::set<std::string> hosts;
  for (const Member& member : members) {
    hosts.insert(member.host);
    if (member.host != members[info.rank].host) continue;
    ++here;
    if (member.rank < info.rank) ++before;
  }
  if (info.local_rank < 0) info.local_rank = before;
  if (info.local_size == 0) info.local_size = here;
  if (info.nodes == 0) info.nodes = static_cast<int>(hosts.size());
}

int port_of_job(const std::string& job) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : job) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return kFirstPort + static_cast<int>(hash % kPorts);
}

}  // namespace seer
