#include "src/ranks/watch.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace {

using std::chrono::milliseconds;

/// For the others to hear bad news before this process ends.
constexpr milliseconds kFarewellLimit{2000};
constexpr milliseconds kSlowestBeat{2000};

}  // namespace

void end_as_peer_lost(const std::string& message) {
  const std::string line = fmt::format("seer-train: {}\n", message);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
  // The main thread may be stuck in a collective that will never end: no destructor may wait for it.
  std::_Exit(kExitPeerLost);
}

ControlPlane::Watch::Watch(JoinOptions options, Joined joined)
    : rank_(options.rank),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      members_(std::move(joined.members)),
      timeout_(options.timeout),
      beat_(std::clamp(options.timeout / 4, milliseconds(1), kSlowestBeat)),
      on_failure_(options.on_failure ? std::move(options.on_failure) : end_as_peer_lost),
      early_(std::move(joined.early)) {
  if (!wake_.valid()) fail_errno("cannot make an eventfd", errno);
  for (size_t i = 0; i < joined.connections.size(); ++i) {
    peers_.push_back({members_[is_head() ? i + 1 : 0], std::move(joined.connections[i]), Clock::now()});
  }
  next_beat_ = Clock::now();
  // Signals are the main thread's: a handler must find the thread that polls its flag awake.
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

ControlPlane::Watch::~Watch() {
  {
    const std::lock_guard lock(mutex_);
    dropped_ = true;
  }
  wake();
  thread_.join();
}

void ControlPlane::Watch::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

std::vector<std::string> ControlPlane::Watch::exchange(std::string_view mine) {
  std::unique_lock lock(mutex_);
  SEER_CHECK(!leaving_, "exchange() after leave()");
  if (!ended_) {
    outgoing_ = mine;
    wake();
    changed_.wait(lock, [&] { return ended_ || gathered_; });
  }
  if (!gathered_) fail("{}", failure_);
  std::vector<std::string> result = std::move(*gathered_);
  gathered_.reset();
  return result;
}

void ControlPlane::Watch::leave() {
  std::unique_lock lock(mutex_);
  leaving_ = true;
  wake();
  changed_.wait(lock, [&] { return ended_; });
  if (!failure_.empty()) fail("{}", failure_);
}

void ControlPlane::Watch::abort(std::string_view why) noexcept {
  try {
    std::unique_lock lock(mutex_);
    if (ended_) return;
    abort_reason_ = why;
    wake();
    // The thread tells the others and sees them off; this only bounds a thread that hangs in on_failure.
    changed_.wait_for(lock, 2 * kFarewellLimit, [&] { return ended_; });
  } catch (const std::exception&) {  // out of memory: the closing connection says the rest
  }
}

void ControlPlane::Watch::run() {
  try {
    for (Frame& frame : early_) {
      if (end_ == End::kNotYet) handle(peers_.front(), frame);
    }
    while (end_ == End::kNotYet) {
      wait();
      read();
      take_requests();
      const Clock::time_point now = Clock::now();
      expect_heartbeats(now);
      send_heartbeats(now);
      finish_exchange();
      finish_leaving();
      flush();
    }
  } catch (const std::exception& e) {
    lose(nullptr, fmt::format("its connections to the other ranks failed: {}", e.what()));
  }
  // Bad news has to arrive before this process ends and its connections break.
  if (end_ == End::kLost || end_ == End::kAborted) see_off(Clock::now() + kFarewellLimit);
  if (end_ == End::kLeft) see_off(Clock::now() + timeout_);
  for (Peer& peer : peers_) peer.connection.close();
  const std::string message = fmt::format("rank {}: ended because {}", rank_, sentence_);
  if (end_ == End::kLost) on_failure_(message);
  const std::lock_guard lock(mutex_);
  ended_ = true;
  if (end_ == End::kLost) failure_ = message;
  if (end_ == End::kAborted) failure_ = fmt::format("rank {} failed: {}", rank_, *abort_reason_);
  if (end_ == End::kDropped) failure_ = fmt::format("rank {} left the others without a goodbye", rank_);
  changed_.notify_all();
}

void ControlPlane::Watch::wait() {
  std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}};
  Clock::time_point until = next_beat_;
  for (const Peer& peer : peers_) {
    polled.push_back({peer.connection.fd(),
                      static_cast<short>(peer.connection.has_unsent() ? POLLIN | POLLOUT : POLLIN), 0});
    until = std::min(until, peer.heard + timeout_);
  }
  ::poll(polled.data(), polled.size(), poll_timeout(until));
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &count, sizeof(count));
}

/// Before silence is judged: a process that was stopped and goes on finds here what the others said meanwhile.
void ControlPlane::Watch::read() {
  for (Peer& peer : peers_) {
    std::vector<Frame> frames;
    const bool open = peer.connection.receive(frames);
    if (!frames.empty()) peer.heard = Clock::now();
    for (Frame& frame : frames) {
      handle(peer, frame);
      if (end_ != End::kNotYet) return;
    }
    if (!open)
      return lose(&peer, fmt::format("{} closed its connection: it was killed, or its host is gone",
                                     describe(peer.member)));
  }
}

void ControlPlane::Watch::handle(Peer& peer, Frame& frame) {
  const bool from_head = !is_head();
  if (frame.kind == FrameKind::kHeartbeat) return;
  if (frame.kind == FrameKind::kAbort && !from_head) {
    return lose(&peer, fmt::format("{} failed: {}", describe(peer.member), frame.body));
  }
  if (frame.kind == FrameKind::kLost && from_head) return lose(nullptr, frame.body);
  if (frame.kind == FrameKind::kShare && !from_head && !peer.share && !peer.said_goodbye) {
    peer.share = std::move(frame.body);
    return;
  }
  if (frame.kind == FrameKind::kGoodbye && !from_head) {
    peer.said_goodbye = true;
    return;
  }
  if (frame.kind == FrameKind::kGoodbye && from_head) {
    end_ = End::kLeft;
    return;
  }
  if (frame.kind == FrameKind::kGathered && from_head) {
    FieldReader reader(frame.body);
    std::vector<std::string> all;
    for (size_t i = 0; i < members_.size(); ++i) all.push_back(reader.text());
    reader.end();
    const std::lock_guard lock(mutex_);
    gathered_ = std::move(all);
    changed_.notify_all();
    return;
  }
  lose(&peer, fmt::format("{} sent what was not expected of it (message {})", describe(peer.member),
                          static_cast<int>(frame.kind)));
}

void ControlPlane::Watch::take_requests() {
  if (end_ != End::kNotYet) return;
  const std::lock_guard lock(mutex_);
  if (outgoing_) {
    if (is_head()) {
      own_share_ = std::move(outgoing_);
    } else {
      peers_.front().connection.send(FrameKind::kShare, *outgoing_);
    }
    outgoing_.reset();
  }
  if (leaving_ && !own_goodbye_) {
    own_goodbye_ = true;
    if (!is_head()) peers_.front().connection.send(FrameKind::kGoodbye);
  }
  if (abort_reason_) {
    end_ = End::kAborted;
    if (is_head()) {
      send_to_all(FrameKind::kLost, fmt::format("{} failed: {}", describe(members_[0]), *abort_reason_));
    } else {
      peers_.front().connection.send(FrameKind::kAbort, *abort_reason_);
    }
  } else if (dropped_) {
    end_ = End::kDropped;
  }
}

void ControlPlane::Watch::expect_heartbeats(Clock::time_point now) {
  if (end_ != End::kNotYet) return;
  for (const Peer& peer : peers_) {
    if (now - peer.heard < timeout_) continue;
    return lose(
        &peer,
        fmt::format("{} has said nothing for {}: it is stopped or hung, or its host or the network is down",
                    describe(peer.member), describe(timeout_)));
  }
}

void ControlPlane::Watch::send_heartbeats(Clock::time_point now) {
  if (end_ != End::kNotYet || now < next_beat_) return;
  next_beat_ = now + beat_;
  send_to_all(FrameKind::kHeartbeat, "");
}

/// On rank 0: once all shares are there, everybody gets all of them.
void ControlPlane::Watch::finish_exchange() {
  if (end_ != End::kNotYet || !is_head()) return;
  size_t shares = own_share_ ? 1 : 0;
  const Peer* leaver = nullptr;
  for (const Peer& peer : peers_) {
    if (peer.share) ++shares;
    if (peer.said_goodbye) leaver = &peer;
  }
  if (shares > 0 && leaver != nullptr) {
    return lose(nullptr, fmt::format("{} left while others still had something to exchange",
                                     describe(leaver->member)));
  }
  if (shares < members_.size()) return;
  std::vector<std::string> all = {std::move(*own_share_)};
  own_share_.reset();
  for (Peer& peer : peers_) {
    all.push_back(std::move(*peer.share));
    peer.share.reset();
  }
  FieldWriter writer;
  for (const std::string& share : all) writer.text(share);
  send_to_all(FrameKind::kGathered, writer.bytes());
  const std::lock_guard lock(mutex_);
  gathered_ = std::move(all);
  changed_.notify_all();
}

/// On rank 0: the last goodbye is answered to all.
void ControlPlane::Watch::finish_leaving() {
  if (end_ != End::kNotYet || !is_head() || !own_goodbye_) return;
  if (!std::all_of(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.said_goodbye; })) return;
  send_to_all(FrameKind::kGoodbye, "");
  end_ = End::kLeft;
}

/// Ends the work of this thread; rank 0 tells the others first. `culprit` gets no message: it cannot read one.
void ControlPlane::Watch::lose(const Peer* culprit, std::string sentence) {
  end_ = End::kLost;
  sentence_ = std::move(sentence);
  if (!is_head()) return;
  const auto bytes = Connection::encode(FrameKind::kLost, sentence_);
  for (Peer& peer : peers_) {
    if (&peer == culprit) {
      peer.connection.close();
    } else {
      peer.connection.send(bytes);
    }
  }
}

void ControlPlane::Watch::send_to_all(FrameKind kind, std::string_view body) {
  const auto bytes = Connection::encode(kind, body);
  for (Peer& peer : peers_) peer.connection.send(bytes);
}

/// A broken connection shows when it is read.
void ControlPlane::Watch::flush() {
  for (Peer& peer : peers_) peer.connection.flush();
}

/// Sends what waits, then reads until every peer has closed: closing first would make the network drop what a peer has not
/// read yet.
void ControlPlane::Watch::see_off(Clock::time_point deadline) {
  while (Clock::now() < deadline) {
    std::vector<pollfd> polled;
    for (Peer& peer : peers_) {
      if (!peer.connection.open()) continue;
      if (!peer.connection.flush()) {
        peer.connection.close();
        continue;
      }
      const bool unsent = peer.connection.has_unsent();
      if (!unsent) peer.connection.finish_sending();
      polled.push_back({peer.connection.fd(), static_cast<short>(unsent ? POLLIN | POLLOUT : POLLIN), 0});
    }
    if (polled.empty()) return;
    ::poll(polled.data(), polled.size(), poll_timeout(deadline));
    for (Peer& peer : peers_) {
      std::vector<Frame> ignored;
      try {
        if (peer.connection.open() && !peer.connection.receive(ignored)) peer.connection.close();
      } catch (const std::exception&) {
        peer.connection.close();
      }
    }
  }
}

}  // namespace seer
