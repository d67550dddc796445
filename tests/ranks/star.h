// What the ranks of a test share: rank 0's listening socket and the secret.
#pragma once

#include <memory>

#include "src/ranks/control_plane.h"

namespace seer::test {

class Star {
 public:
  explicit Star(int size, std::chrono::milliseconds timeout = std::chrono::seconds(20));

  int port() const { return port_; }
  JoinOptions options(int rank);
  std::unique_ptr<ControlPlane> join(int rank) { return ControlPlane::join(options(rank)); }

 private:
  int size_;
  std::chrono::milliseconds timeout_;
  Fd listener_;
  int port_;
};

}  // namespace seer::test
