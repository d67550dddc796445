// Two hosts on one machine: network namespaces joined by a cable (veth). Neither sees the other's loopback.
#pragma once

#include <string>
#include <vector>

namespace seer::test {

/// The hosts 'a' and 'b', while it lives.
class TwoHosts {
 public:
  TwoHosts();
  ~TwoHosts();
  TwoHosts(const TwoHosts&) = delete;
  TwoHosts& operator=(const TwoHosts&) = delete;

  /// Why there are none here (not root, no `ip`); empty if all is well.
  const std::string& failed() const { return failed_; }

  static std::string address(char host) { return host == 'a' ? "10.199.7.1" : "10.199.7.2"; }
  /// `command`, to be run on that host.
  std::vector<std::string> on(char host, const std::vector<std::string>& command) const;
  /// Moves this process there. Throws Error if it cannot.
  void enter(char host) const;
  /// What stood in the way, if anything did.
  std::string cut_the_cable() const;

 private:
  std::string name_;
  std::string failed_;
};

}  // namespace seer::test
