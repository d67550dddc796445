// TCP sockets as the control plane needs them: owned, non-blocking, with deadlines.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "src/ranks/fd.h"

namespace seer {

using Clock = std::chrono::steady_clock;

/// A socket that listens on `port` (0: a free one), on this machine alone or on every address it has. Throws Error.
Fd listen_on(int port, bool this_machine_only);

/// Takes over a listening socket inherited from the launcher; throws Error if `fd` is none.
Fd adopt_listener(int fd);

/// The port a socket listens on.
int port_of(const Fd& listener);

/// The next waiting connection, non-blocking; invalid if none waits. `peer` gets its numeric address. Throws Error if this
/// process may not open more files.
Fd accept_from(const Fd& listener, std::string& peer);

/// Connects to the first address of `host` that answers before the deadline; otherwise invalid, and `why` says so.
Fd connect_to(const std::string& host, int port, Clock::time_point deadline, std::string& why);

/// The numeric address at this end of a connection.
std::string local_address(int connection);

/// Names under which other hosts may reach this one: its host name, then the numeric addresses of its interfaces,
/// loopback last.
std::vector<std::string> own_addresses();

/// This machine's host name.
std::string host_name();

/// Raises the limit of open files to at least `files`, as far as the hard limit allows.
void allow_open_files(size_t files);

/// Milliseconds from now to `deadline` for poll(): rounded up, at least 0.
int poll_timeout(Clock::time_point deadline);

}  // namespace seer
