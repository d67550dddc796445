// Arbitrary bytes as a JSONL file: split into lines, each read as text and as messages, as the loader does
// it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "data/json_line.h"
#include "data/line_reader.h"
#include "data/unicode.h"

namespace {

constexpr size_t kMaxLineBytes = 4096;

class BytesSource : public seer::ByteSource {
 public:
  explicit BytesSource(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  size_t read(std::span<char> out) override {
    const size_t count = std::min(out.size(), bytes_.size());
    if (count > 0) std::memcpy(out.data(), bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return count;
  }

 private:
  std::span<const uint8_t> bytes_;
};

void require(bool condition) {
  if (!condition) std::abort();
}

void check_line(const std::string& line, const char* text_field) {
  seer::Document document;
  if (const auto problem = seer::parse_json_line(line, text_field, document)) {
    require(!problem->empty() && problem->size() < 1000);
    return;
  }
  // What is accepted is valid UTF-8 and holds no more than the line did.
  size_t bytes = document.text.size();
  require(seer::valid_utf8_prefix(document.text) == document.text.size());
  for (const seer::ChatMessage& message : document.messages) {
    require(seer::valid_utf8_prefix(message.role) == message.role.size());
    require(seer::valid_utf8_prefix(message.content) == message.content.size());
    bytes += message.role.size() + message.content.size();
  }
  require(!document.messages.empty() || document.text.size() <= line.size());
  require(document.messages.empty() || bytes - document.text.size() <= line.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  seer::LineReader lines(std::make_unique<BytesSource>(std::span(data, size)), kMaxLineBytes);
  int64_t number = 0;
  for (std::string line; lines.next(line);) {
    require(lines.number() == ++number && line.size() <= kMaxLineBytes);
    if (lines.too_long()) continue;
    check_line(line, "text");
    check_line(line, "content");
  }
  return 0;
}
