#include "data/record_group.h"

#include <utility>

#include <fmt/format.h>

#include "data/json_line.h"
#include "data/unicode.h"
#include "src/core/error.h"

namespace seer {
namespace {

/// Fills `document`; returns what is wrong with the record.
std::optional<std::string> read_document(const LoaderOptions& options, Record& record, Document& document) {
  if (record.kind == Record::Kind::kTooLong)
    return fmt::format("longer than {} bytes", options.max_document_bytes);
  if (record.kind == Record::Kind::kJsonLine)
    return parse_json_line(record.bytes, options.text_field, document);
  const size_t valid = valid_utf8_prefix(record.bytes);
  if (valid != record.bytes.size()) return fmt::format("invalid UTF-8 at byte {}", valid);
  document.messages.clear();
  document.text = std::move(record.bytes);
  return std::nullopt;
}

void check_vocabulary(const LoaderOptions& options, const RecordGroup& group, const Record& record,
                      const std::vector<int32_t>& ids) {
  if (options.vocab_size == 0) return;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < options.vocab_size) continue;
    const std::string where = record.kind == Record::Kind::kIds
                                  ? fmt::format("{}: position {}", group.file->path.string(),
                                                record.begin + static_cast<int64_t>(i))
                                  : fmt::format("{}:{}: token {}", group.file->path.string(), record.line, i);
    fail("{}: id {} is outside the model's vocabulary of {}", where, ids[i], options.vocab_size);
  }
}

void encode_record(const LoaderOptions& options, const TokenEncoder* encoder, const RecordGroup& group,
                   Record& record, Document& document, EncodedRecord& out) {
  out.line = record.line;
  out.begins_document = record.begins_document;
  out.ends_document = record.ends_document;
  if (record.kind == Record::Kind::kIds) {
    record.array->read(record.begin, record.count, out.ids);
  } else {
    if (auto problem = read_document(options, record, document)) {
      out.problem = std::move(*problem);
      return;
    }
    try {
      encoder->encode(document, out.ids);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUsage)
        throw Error(fmt::format("{}:{}: {}", group.file->path.string(), record.line, error.what()),
                    error.kind());
      out.problem = error.what();
      return;
    }
    if (options.separator) out.ids.push_back(*options.separator);
  }
  check_vocabulary(options, group, record, out.ids);
}

}  // namespace

size_t RecordGroup::weight() const {
  size_t bytes = sizeof(RecordGroup);
  for (const Record& record : records)
    bytes += sizeof(Record) + record.bytes.size() + static_cast<size_t>(record.count) * sizeof(int32_t);
  return bytes;
}

void encode_group(const LoaderOptions& options, const TokenEncoder* encoder, RecordGroup& group) {
  try {
    Document document;
    group.encoded.reserve(group.records.size());
    for (Record& record : group.records) {
      EncodedRecord encoded;
      encode_record(options, encoder, group, record, document, encoded);
      group.encoded.push_back(std::move(encoded));
      record = Record{};  // the text is done with
    }
  } catch (...) {
    group.error = std::current_exception();
  }
  group.records = {};
}

}  // namespace seer
