#include "src/ranks/frame.h"

#include <array>
#include <cerrno>
#include <limits>

#include <sys/socket.h>

#include "src/core/error.h"

namespace seer {
namespace {

void append_little_endian(std::string& bytes, uint64_t value, int count) {
  for (int i = 0; i < count; ++i) bytes.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i)
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return value;
}

bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK;
}

}  // namespace

FieldWriter& FieldWriter::number(uint64_t value) {
  append_little_endian(bytes_, value, 8);
  return *this;
}

FieldWriter& FieldWriter::text(std::string_view value) {
  SEER_CHECK(value.size() <= kMaxBody, "{} bytes for one message between ranks", value.size());
  append_little_endian(bytes_, value.size(), 4);
  bytes_ += value;
  return *this;
}

std::string_view FieldReader::take(size_t count) {
  if (count > rest_.size()) fail("a message between ranks ends too early");
  const std::string_view taken = rest_.substr(0, count);
  rest_.remove_prefix(count);
  return taken;
}

uint64_t FieldReader::number() {
  return little_endian(take(8));
}

int FieldReader::small_number() {
  const uint64_t value = number();
  if (value > static_cast<uint64_t>(std::numeric_limits<int>::max()))
    fail("a message between ranks holds {}", value);
  return static_cast<int>(value);
}

std::string FieldReader::text() {
  return std::string(take(little_endian(take(4))));
}

void FieldReader::end() const {
  if (!rest_.empty()) fail("a message between ranks has {} bytes too many", rest_.size());
}

std::shared_ptr<const std::string> Connection::encode(FrameKind kind, std::string_view body) {
  SEER_CHECK(body.size() <= kMaxBody, "{} bytes for one message between ranks", body.size());
  auto bytes = std::make_shared<std::string>();
  bytes->reserve(kFrameHeader + body.size());
  bytes->push_back(static_cast<char>(kind));
  bytes->append(3, '\0');
  append_little_endian(*bytes, body.size(), 4);
  bytes->append(body);
  return bytes;
}

void Connection::send(FrameKind kind, std::string_view body) {
  send(encode(kind, body));
}

bool Connection::flush() {
  while (!waiting_.empty()) {
    const std::string& bytes = *waiting_.front();
    const ssize_t n = ::send(fd_.get(), bytes.data() + sent_, bytes.size() - sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return would_block();
    sent_ += static_cast<size_t>(n);
    if (sent_ == bytes.size()) {
      waiting_.pop_front();
      sent_ = 0;
    }
  }
  return true;
}

bool Connection::receive(std::vector<Frame>& frames, size_t max_body) {
  bool open = true;
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      open = n < 0 && would_block();
      break;
    }
    received_.append(buffer.data(), static_cast<size_t>(n));
    // More may wait, but no stranger fills our memory.
    if (received_.size() > max_body + kFrameHeader) break;
  }
  size_t at = 0;
  while (received_.size() - at >= kFrameHeader) {
    const std::string_view header(received_.data() + at, kFrameHeader);
    const auto kind = static_cast<uint8_t>(header[0]);
    const size_t length = little_endian(header.substr(4));
    if (kind == 0 || kind > static_cast<uint8_t>(kLastFrameKind) ||
        header.substr(1, 3) != std::string_view("\0\0\0", 3) || length > max_body) {
      fail("it does not speak this protocol");
    }
    if (received_.size() - at - kFrameHeader < length) break;
    frames.push_back({static_cast<FrameKind>(kind), received_.substr(at + kFrameHeader, length)});
    at += kFrameHeader + length;
  }
  received_.erase(0, at);
  return open;
}

void Connection::finish_sending() {
  ::shutdown(fd_.get(), SHUT_WR);
}

}  // namespace seer
