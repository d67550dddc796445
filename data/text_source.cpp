#include "data/text_source.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "data/byte_source.h"
#include "data/line_reader.h"

namespace seer {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class JsonLinesSource : public RecordSource {
 public:
  JsonLinesSource(const DataFile& file, int64_t max_line_bytes)
      : lines_(open_bytes(file.path, file.compression), static_cast<size_t>(max_line_bytes)) {}

  bool next(Record& record) override {
    record = Record{};
    while (lines_.next(record.bytes)) {
      if (!lines_.too_long() && record.bytes.find_first_not_of(" \t") == std::string::npos) continue;
      record.kind = lines_.too_long() ? Record::Kind::kTooLong : Record::Kind::kJsonLine;
      record.line = lines_.number();
      return true;
    }
    return false;
  }

 private:
  LineReader lines_;
};

class WholeTextSource : public RecordSource {
 public:
  WholeTextSource(const DataFile& file, int64_t max_bytes)
      : source_(open_bytes(file.path, file.compression)), max_bytes_(static_cast<size_t>(max_bytes)) {}

  bool next(Record& record) override {
    if (source_ == nullptr) return false;
    record = Record{};
    record.kind = Record::Kind::kText;
    record.line = 1;
    std::array<char, size_t{1} << 16> buffer;
    bool any = false;
    while (const size_t count = source_->read(buffer)) {
      any = true;
      // Read on to the end in any case: damage there must not go unseen.
      if (record.bytes.size() + count > max_bytes_) record.kind = Record::Kind::kTooLong;
      if (record.kind == Record::Kind::kText) record.bytes.append(buffer.data(), count);
    }
    source_.reset();
    if (record.kind == Record::Kind::kTooLong) std::string().swap(record.bytes);
    if (record.bytes.starts_with(kByteOrderMark)) record.bytes.erase(0, kByteOrderMark.size());
    return any;
  }

 private:
  std::unique_ptr<ByteSource> source_;  // null after the record
  size_t max_bytes_;
};

}  // namespace

std::unique_ptr<RecordSource> open_json_lines(const DataFile& file, int64_t max_line_bytes) {
  return std::make_unique<JsonLinesSource>(file, max_line_bytes);
}

std::unique_ptr<RecordSource> open_text(const DataFile& file, int64_t max_bytes) {
  return std::make_unique<WholeTextSource>(file, max_bytes);
}

}  // namespace seer
