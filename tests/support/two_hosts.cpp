#include "tests/support/two_hosts.h"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "src/core/error.h"
#include "tests/support/process.h"

namespace seer::test {
namespace {

/// What it said on standard error, or nothing if all went well.
std::string shell(const std::string& command) {
  const ProcessResult result = run_process({"/bin/sh", "-c", command});
  return result.exit_code == 0 ? "" : fmt::format("{}(exit code {})", result.err, result.exit_code);
}

}  // namespace

TwoHosts::TwoHosts() : name_(fmt::format("seer{}", ::getpid())) {
  failed_ = shell(
      fmt::format("ip netns add {0}a && ip netns add {0}b && "
                  "ip link add v{0}a netns {0}a type veth peer name v{0}b netns {0}b && "
                  "ip -n {0}a address add {1}/24 dev v{0}a && ip -n {0}b address add {2}/24 dev v{0}b && "
                  "ip -n {0}a link set v{0}a up && ip -n {0}b link set v{0}b up && "
                  "ip -n {0}a link set lo up && ip -n {0}b link set lo up",
                  name_, address('a'), address('b')));
}

TwoHosts::~TwoHosts() {
  shell(fmt::format("ip netns delete {0}a; ip netns delete {0}b", name_));
}

std::vector<std::string> TwoHosts::on(char host, const std::vector<std::string>& command) const {
  std::vector<std::string> all = {"/usr/bin/env", "ip", "netns", "exec", name_ + host};
  all.insert(all.end(), command.begin(), command.end());
  return all;
}

void TwoHosts::enter(char host) const {
  const int fd = ::open(fmt::format("/var/run/netns/{}{}", name_, host).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || ::setns(fd, CLONE_NEWNET) != 0) fail_errno("cannot enter a network namespace", errno);
  ::close(fd);
}

std::string TwoHosts::cut_the_cable() const {
  return shell(fmt::format("ip -n {0}a link set v{0}a down", name_));
}

}  // namespace seer::test
