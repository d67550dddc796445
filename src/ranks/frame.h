// What goes over the control plane's connections: frames of a kind and some bytes, and the bytes of their fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/ranks/socket.h"

namespace seer {

/// The version of everything below; ranks of different versions refuse each other.
constexpr uint32_t kProtocolVersion = 1;

enum class FrameKind : uint8_t {
  kChallenge = 1,  ///< rank 0 to a newcomer: "SEER", version, nonce
  kIntroduction,   ///< back: version, rank, size, host, pid, nonce, proof
  kVerdict,        ///< back: accepted or not and why, proof
  kWelcome,        ///< to all, once all have come: host and pid of every rank
  kHeartbeat,      ///< both ways: nothing
  kShare,          ///< to rank 0: this rank's bytes of an exchange
  kGathered,       ///< from rank 0: everybody's, in the order of ranks
  kAbort,          ///< to rank 0: this rank failed, and why
  kLost,           ///< from rank 0: which rank is lost, and the sentence that says so
  kGoodbye,        ///< to rank 0: nothing more will come; from rank 0: everybody said so
};
constexpr FrameKind kLastFrameKind = FrameKind::kGoodbye;

/// On the wire: kind, three zero bytes, the body's length as a little-endian u32, the body.
struct Frame {
  FrameKind kind = FrameKind::kHeartbeat;
  std::string body;
};
constexpr size_t kFrameHeader = 8;
/// Of a body. Strangers may send the length of a greeting, ranks of this start what the exchange of a file would need.
constexpr size_t kMaxGreeting = 4096;
constexpr size_t kMaxBody = size_t{1} << 30;

/// A body's fields in order: integers little-endian, strings after their length as a u32.
class FieldWriter {
 public:
  FieldWriter& number(uint64_t value);
  FieldWriter& text(std::string_view value);
  std::string take() { return std::move(bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Reads what a FieldWriter wrote. A body that ends too early or says too much throws Error: not one of ours.
class FieldReader {
 public:
  explicit FieldReader(std::string_view bytes) : rest_(bytes) {}
  uint64_t number();
  /// A number that has to fit an int and be at least 0.
  int small_number();
  std::string text();
  /// Throws Error if anything is left.
  void end() const;

 private:
  std::string_view take(size_t count);
  std::string_view rest_;
};

/// A connection that never blocks: what cannot be sent yet waits in memory, what has arrived comes out in whole frames.
class Connection {
 public:
  /// `peer` is for messages.
  explicit Connection(Fd fd, std::string peer = "") : fd_(std::move(fd)), peer_(std::move(peer)) {}

  int fd() const { return fd_.get(); }
  const std::string& peer() const { return peer_; }
  bool open() const { return fd_.valid(); }

  void send(FrameKind kind, std::string_view body = "");
  /// The same bytes for many connections, copied once.
  void send(std::shared_ptr<const std::string> encoded) { waiting_.push_back(std::move(encoded)); }
  static std::shared_ptr<const std::string> encode(FrameKind kind, std::string_view body);

  /// Sends what the network takes now; false if the connection is broken.
  bool flush();
  bool has_unsent() const { return !waiting_.empty(); }
  /// Reads what has arrived and appends its frames; false once the peer has closed or broken the connection. Throws Error
  /// for bytes that are no frame of ours, or a body of more than `max_body`.
  bool receive(std::vector<Frame>& frames, size_t max_body = kMaxBody);
  /// Says that nothing more will be sent; what the peer sends can still be read.
  void finish_sending();
  void close() { fd_ = Fd(); }

 private:
  Fd fd_;
  std::string peer_;
  std::deque<std::shared_ptr<const std::string>> waiting_;
  size_t sent_ = 0;  ///< Bytes of waiting_.front()
  std::string received_;
};

}  // namespace seer
