// The other ranks' part of joining.
#include <algorithm>
#include <thread>

#include <poll.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/ranks/handshake.h"

namespace seer {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{500};
/// For the head to answer a connection. Its socket may be there before it is, and another process may have its port.
constexpr std::chrono::seconds kGreetingLimit{5};
/// The head's clock may have started later than ours, and it decides last.
constexpr std::chrono::seconds kGrace{5};
/// The welcome names every rank.
constexpr size_t kMaxWelcome = size_t{1} << 24;

/// Frames of one connection, waited for one by one.
class Inbox {
 public:
  explicit Inbox(Connection& connection) : connection_(connection) {}

  /// The next frame; none if the peer closed the connection or the time is over.
  std::optional<Frame> next(Clock::time_point deadline) {
    while (frames_.empty()) {
      if (closed_ || !connection_.flush() || Clock::now() >= deadline) return std::nullopt;
      pollfd wait{connection_.fd(), static_cast<short>(connection_.has_unsent() ? POLLIN | POLLOUT : POLLIN),
                  0};
      ::poll(&wait, 1, poll_timeout(deadline));
      if (wait.revents != 0) closed_ = !connection_.receive(frames_, kMaxWelcome);
    }
    Frame frame = std::move(frames_.front());
    frames_.erase(frames_.begin());
    return frame;
  }

  bool closed() const { return closed_; }
  /// What has come and was not asked for.
  std::vector<Frame> take_rest() { return std::move(frames_); }

 private:
  Connection& connection_;
  std::vector<Frame> frames_;
  bool closed_ = false;
};

Frame expect(std::optional<Frame> frame, FrameKind kind, const char* without) {
  if (!frame) fail("{}", without);
  if (frame->kind != kind) fail("it does not speak this protocol");
  return std::move(*frame);
}

/// Whether rank 0 of this start is at the other end and accepts us. Throws Error where it is somebody else, or does not
/// answer: rank 0 may yet come. Returns why it does not want us, if it is rank 0 and does not.
std::string greet(Inbox& inbox, Connection& connection, const JoinOptions& options, std::string_view secret,
                  Clock::time_point deadline) {
  const Clock::time_point first_word = std::min(deadline, Clock::now() + kGreetingLimit);
  const Challenge challenge =
      Challenge::decode(expect(inbox.next(first_word), FrameKind::kChallenge, "nobody answers").body);
  if (challenge.version != kProtocolVersion) {
    fail("it speaks version {} of the ranks' protocol, this rank version {}: all ranks need the same build",
         challenge.version, kProtocolVersion);
  }
  Introduction introduction{.member = {options.rank, options.host, ::getpid()}, .size = options.size};
  introduction.sign(secret, challenge);
  connection.send(FrameKind::kIntroduction, introduction.encode());
  const Verdict verdict = Verdict::decode(
      expect(inbox.next(deadline), FrameKind::kVerdict, "it does not accept this rank's secret").body);
  if (!verdict.signed_by(secret, challenge, introduction)) fail("it does not know this start's secret");
  return verdict.accepted ? "" : verdict.why;
}

Joined wait_for_welcome(Inbox& inbox, Connection& connection, const JoinOptions& options) {
  const std::optional<Frame> frame = inbox.next(Clock::now() + options.join_timeout + kGrace);
  if (!frame && !inbox.closed()) {
    fail("rank 0 at {} said nothing for {} after this rank had joined", connection.peer(),
         describe(options.join_timeout + kGrace));
  }
  if (!frame) fail("rank 0 at {} went away while ranks were still joining", connection.peer());
  if (frame->kind == FrameKind::kLost) fail("rank 0 at {} gave up: {}", connection.peer(), frame->body);
  if (frame->kind != FrameKind::kWelcome)
    fail("rank 0 at {} does not speak this protocol", connection.peer());
  Joined joined;
  joined.members = decode_members(frame->body);
  joined.connections.push_back(std::move(connection));
  joined.early = inbox.take_rest();
  return joined;
}

}  // namespace

Joined report_to_head(JoinOptions& options) {
  const Clock::time_point deadline = Clock::now() + options.join_timeout;
  std::string obstacles = options.head_unknown;
  milliseconds pause = kFirstPause;
  while (Clock::now() < deadline) {
    const std::optional<HeadAddress> head = options.find_head();
    obstacles = head ? "" : options.head_unknown;
    const auto stopped_by = [&](const std::string& obstacle) {
      obstacles += (obstacles.empty() ? "" : "; ") + obstacle;
    };
    for (const std::string& host : head ? head->hosts : std::vector<std::string>()) {
      std::string why;
      Fd fd = connect_to(host, head->port, deadline, why);
      if (!fd.valid()) {
        stopped_by(why);
        continue;
      }
      Connection connection(std::move(fd), fmt::format("{} port {}", host, head->port));
      Inbox inbox(connection);
      std::string refused;
      try {
        refused = greet(inbox, connection, options, head->secret, deadline);
      } catch (const Error& e) {
        stopped_by(fmt::format("{}: {}", connection.peer(), e.what()));
        continue;
      }
      if (!refused.empty()) fail("rank 0 refused this process: {}", refused);
      return wait_for_welcome(inbox, connection, options);
    }
    std::this_thread::sleep_for(std::min<Clock::duration>(pause, deadline - Clock::now()));
    pause = std::min(pause * 3 / 2, kLongestPause);
  }
  fail("rank {} of {} did not reach rank 0 within {} ({})", options.rank, options.size,
       describe(options.join_timeout), obstacles);
}

}  // namespace seer
