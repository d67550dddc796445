#include "data/line_reader.h"

#include <cstring>
#include <utility>

namespace seer {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 18;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

LineReader::LineReader(std::unique_ptr<ByteSource> source, size_t max_line_bytes)
    : source_(std::move(source)), max_line_bytes_(max_line_bytes), buffer_(kBufferBytes) {}

bool LineReader::fill() {
  begin_ = 0;
  end_ = source_->read(buffer_);
  return end_ > 0;
}

void LineReader::append(std::string& line, const char* bytes, size_t count) {
  if (too_long_ || line.size() + count > max_line_bytes_) {
    too_long_ = true;
    std::string().swap(line);
    return;
  }
  line.append(bytes, count);
}

bool LineReader::next(std::string& line) {
  line.clear();
  too_long_ = false;
  if (begin_ == end_ && !fill()) return false;
  ++number_;
  while (true) {
    const char* start = buffer_.data() + begin_;
    const size_t available = end_ - begin_;
    const auto* newline = static_cast<const char*>(std::memchr(start, '\n', available));
    append(line, start, newline != nullptr ? static_cast<size_t>(newline - start) : available);
    begin_ = newline != nullptr ? begin_ + static_cast<size_t>(newline - start) + 1 : end_;
    if (newline != nullptr || !fill()) break;
  }
  if (number_ == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

}  // namespace seer
