// The control plane's thread: one poll loop over the connections, heartbeats, and who is lost.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "src/ranks/control_plane.h"

namespace seer {

/// Rank 0 has a peer for every other rank, the others have one: rank 0. Callers hand over what they want under the mutex
/// and wake the thread; everything below `Peer` belongs to the thread alone.
class ControlPlane::Watch {
 public:
  Watch(JoinOptions options, Joined joined);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  std::vector<std::string> exchange(std::string_view mine);
  void leave();
  void abort(std::string_view why) noexcept;

 private:
  struct Peer {
    Member member;
    Connection connection;
    Clock::time_point heard;
    std::optional<std::string> share;  ///< Of the exchange under way; on rank 0
    bool said_goodbye = false;
  };
  /// How the thread's work ends.
  enum class End { kNotYet, kLeft, kLost, kAborted, kDropped };

  void run();
  void wait();
  void read();
  void take_requests();
  void handle(Peer& peer, Frame& frame);
  void expect_heartbeats(Clock::time_point now);
  void send_heartbeats(Clock::time_point now);
  void finish_exchange();
  void finish_leaving();
  void lose(const Peer* culprit, std::string sentence);
  void send_to_all(FrameKind kind, std::string_view body);
  void flush();
  void see_off(Clock::time_point deadline);
  void wake();
  bool is_head() const { return rank_ == 0; }

  const int rank_;
  Fd wake_;  ///< An eventfd
  const std::vector<Member> members_;
  const std::chrono::milliseconds timeout_;
  const std::chrono::milliseconds beat_;
  const std::function<void(const std::string&)> on_failure_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::optional<std::string> outgoing_;               ///< This rank's bytes, until the thread takes them
  std::optional<std::vector<std::string>> gathered_;  ///< Until the caller takes them
  bool leaving_ = false;
  bool dropped_ = false;  ///< Destroyed without leave()
  std::optional<std::string> abort_reason_;
  bool ended_ = false;
  std::string failure_;  ///< Why it ended, unless all left

  // The thread's own.
  std::vector<Peer> peers_;
  std::vector<Frame> early_;              ///< Joined::early
  std::optional<std::string> own_share_;  ///< On rank 0
  Clock::time_point next_beat_;
  End end_ = End::kNotYet;
  bool own_goodbye_ = false;
  std::string sentence_;  ///< Of End::kLost

  std::thread thread_;
};

}  // namespace seer
