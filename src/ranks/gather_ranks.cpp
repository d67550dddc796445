// Rank 0's part of joining: one loop over the listening socket, newcomers that are still being greeted and ranks that
// have come.
#include <algorithm>
#include <list>
#include <set>

#include <poll.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/ranks/handshake.h"
#include "src/ranks/proof.h"

namespace seer {
namespace {

/// For a newcomer to introduce itself.
constexpr std::chrono::seconds kGreetingLimit{10};
/// Between two log lines about who is missing.
constexpr std::chrono::seconds kReminder{30};
/// For telling those who came that the others did not.
constexpr std::chrono::seconds kFarewellLimit{2};

/// Somebody who connected and has not proved anything yet.
struct Newcomer {
  Connection connection;
  Challenge challenge;
  Clock::time_point deadline;
  short events = 0;  ///< What poll() saw
};

struct Seat {
  std::optional<Connection> connection;
  Member member;
};

class RollCall {
 public:
  explicit RollCall(JoinOptions& options)
      : options_(options), seats_(options.size), deadline_(Clock::now() + options.join_timeout) {
    seats_[0].member = {0, options.host, ::getpid()};
    allow_open_files(static_cast<size_t>(options.size) + 256);
  }

  Joined run() {
    Clock::time_point reminder = Clock::now() + kReminder;
    while (missing_ > 0) {
      const Clock::time_point now = Clock::now();
      if (now >= deadline_) {
        give_up(fmt::format("{} of {} did not come within {}", describe_ranks(missing_ranks()), options_.size,
                            describe(options_.join_timeout)));
      }
      if (now >= reminder) {
        log::info("waiting for {} of {}", describe_ranks(missing_ranks()), options_.size);
        reminder = now + kReminder;
      }
      wait(std::min(deadline_, reminder));
      watch_seats();
      greet_newcomers();
      accept_newcomers();
    }
    return welcome();
  }

 private:
  std::vector<int> missing_ranks() const {
    std::vector<int> missing;
    for (int rank = 1; rank < options_.size; ++rank) {
      if (!seats_[rank].connection) missing.push_back(rank);
    }
    return missing;
  }

  void wait(Clock::time_point until) {
    polled_.clear();
    polled_.push_back({options_.listener.get(), POLLIN, 0});
    for (const Newcomer& newcomer : newcomers_) {
      polled_.push_back({newcomer.connection.fd(), POLLIN, 0});
      until = std::min(until, newcomer.deadline);
    }
    for (int rank = 1; rank < options_.size; ++rank) {
      const auto& connection = seats_[rank].connection;
      if (!connection) continue;
      // poll() always tells of closed connections; those who came have nothing else to say before the welcome.
      polled_.push_back(
          {connection->fd(), static_cast<short>(connection->has_unsent() ? POLLIN | POLLOUT : POLLIN), 0});
    }
    ::poll(polled_.data(), polled_.size(), poll_timeout(until));
    size_t i = 1;
    for (Newcomer& newcomer : newcomers_) newcomer.events = polled_[i++].revents;
  }

  /// A rank that goes while others are still on their way will not come back.
  void watch_seats() {
    for (size_t i = 1 + newcomers_.size(); i < polled_.size(); ++i) {
      if (polled_[i].revents == 0) continue;
      const auto seat = std::find_if(seats_.begin(), seats_.end(), [&](const Seat& s) {
        return s.connection && s.connection->fd() == polled_[i].fd;
      });
      std::vector<Frame> frames;
      if (!seat->connection->flush() || !seat->connection->receive(frames, kMaxGreeting)) {
        seat->connection.reset();
        give_up(fmt::format("{} went away while ranks were still joining", describe(seat->member)));
      }
    }
  }

  void accept_newcomers() {
    if (polled_.front().revents == 0) return;
    std::string peer;
    for (Fd fd = accept_from(options_.listener, peer); fd.valid();
         fd = accept_from(options_.listener, peer)) {
      Newcomer newcomer{
          Connection(std::move(fd), peer), {.nonce = make_nonce()}, Clock::now() + kGreetingLimit};
      newcomer.connection.send(FrameKind::kChallenge, newcomer.challenge.encode());
      if (newcomer.connection.flush()) newcomers_.push_back(std::move(newcomer));
    }
  }

  void greet_newcomers() {
    for (auto newcomer = newcomers_.begin(); newcomer != newcomers_.end();) {
      std::vector<Frame> frames;
      std::string fault;
      bool gone = false;  // not worth a line: ranks try again when we are slow to answer
      try {
        if (newcomer->events != 0 && !newcomer->connection.receive(frames, kMaxGreeting)) gone = true;
        if (!frames.empty() && !seat(*newcomer, frames)) fault = "it does not know this start's secret";
      } catch (const Error& e) {
        fault = e.what();
      }
      if (frames.empty() && fault.empty() && Clock::now() >= newcomer->deadline)
        fault = "it did not introduce itself";
      if (!fault.empty()) drop(newcomer->connection.peer(), fault);
      newcomer = frames.empty() && fault.empty() && !gone ? std::next(newcomer) : newcomers_.erase(newcomer);
    }
  }

  /// One line for each address and fault: a process with a wrong secret tries again and again.
  void drop(const std::string& peer, const std::string& fault) {
    if (dropped_.insert(peer + fault).second)
      log::warn("dropped a connection from {} while ranks join: {}", peer, fault);
  }

  /// False if it proved nothing.
  bool seat(Newcomer& newcomer, const std::vector<Frame>& frames) {
    if (frames.size() != 1 || frames[0].kind != FrameKind::kIntroduction)
      fail("it does not speak this protocol");
    const Introduction introduction = Introduction::decode(frames[0].body);
    if (!introduction.signed_by(options_.secret, newcomer.challenge)) return false;
    Verdict verdict;
    verdict.why = objection(introduction);
    verdict.accepted = verdict.why.empty();
    verdict.sign(options_.secret, newcomer.challenge, introduction);
    newcomer.connection.send(FrameKind::kVerdict, verdict.encode());
    newcomer.connection.flush();
    if (!verdict.accepted) {
      log::warn("refused a connection from {}: {}", newcomer.connection.peer(), verdict.why);
      return true;
    }
    Seat& seat = seats_[introduction.member.rank];
    seat.member = introduction.member;
    seat.connection.emplace(std::move(newcomer.connection));
    --missing_;
    return true;
  }

  std::string objection(const Introduction& introduction) const {
    const Member& member = introduction.member;
    if (introduction.version != kProtocolVersion) {
      return fmt::format(
          "{} speaks version {} of the ranks' protocol, rank 0 version {}: all ranks need the same build",
          describe(member), introduction.version, kProtocolVersion);
    }
    if (introduction.size != options_.size) {
      return fmt::format("{} was told of {} ranks, {} of {}", describe(member), introduction.size,
                         describe(seats_[0].member), options_.size);
    }
    if (member.rank >= options_.size) {
      return fmt::format("{} is none of {} ranks", describe(member), options_.size);
    }
    if (member.rank == 0 || seats_[member.rank].connection) {
      return fmt::format("{} is there already; a second process of that rank came: host {}, pid {}",
                         describe(seats_[member.rank].member), member.host, member.pid);
    }
    return "";
  }

  [[noreturn]] void give_up(const std::string& why) {
    const auto bytes = Connection::encode(FrameKind::kLost, why);
    const Clock::time_point deadline = Clock::now() + kFarewellLimit;
    for (Seat& seat : seats_) {
      if (!seat.connection) continue;
      seat.connection->send(bytes);
      while (seat.connection->flush() && seat.connection->has_unsent() && Clock::now() < deadline) {
        pollfd wait{seat.connection->fd(), POLLOUT, 0};
        ::poll(&wait, 1, poll_timeout(deadline));
      }
    }
    fail("{}", why);
  }

  Joined welcome() {
    Joined joined;
    for (const Seat& seat : seats_) joined.members.push_back(seat.member);
    const auto bytes = Connection::encode(FrameKind::kWelcome, encode_members(joined.members));
    for (int rank = 1; rank < options_.size; ++rank) {
      joined.connections.push_back(std::move(*seats_[rank].connection));
      joined.connections.back().send(bytes);
      joined.connections.back().flush();  // a broken one shows as soon as the control plane reads
    }
    return joined;
  }

  JoinOptions& options_;
  std::vector<Seat> seats_;  ///< By rank
  int missing_ = options_.size - 1;
  Clock::time_point deadline_;
  std::list<Newcomer> newcomers_;
  std::vector<pollfd> polled_;  ///< The listener, the newcomers, the seats
  std::set<std::string> dropped_;
};

}  // namespace

Joined gather_ranks(JoinOptions& options) {
  Joined joined = RollCall(options).run();
  options.listener = Fd();  // from here on nobody can connect
  return joined;
}

}  // namespace seer
