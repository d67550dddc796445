// What a data file consists of, before it is tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/file_list.h"

namespace seer {

/// Token ids in a file, addressed by position. Const calls are thread-safe.
class IdArray {
 public:
  virtual ~IdArray() = default;
  /// Puts ids [begin, begin + count) into `ids`; throws an Error naming file and position if one is negative
  /// or does not fit int32_t.
  virtual void read(int64_t begin, int64_t count, std::vector<int32_t>& ids) const = 0;
};

/// One document, or a piece of a document of ids too long to be held at once.
struct Record {
  enum class Kind { kJsonLine, kText, kIds, kTooLong };

  Kind kind = Kind::kJsonLine;
  int64_t line = 0;                      ///< Of text: the line where it begins, from 1.
  std::string bytes;                     ///< kJsonLine, kText
  std::shared_ptr<const IdArray> array;  ///< kIds: this array's ids [begin, begin + count).
  int64_t begin = 0;
  int64_t count = 0;
  bool begins_document = true;
  bool ends_document = true;
};

/// The records of one file in order. Not thread-safe.
class RecordSource {
 public:
  virtual ~RecordSource() = default;
  /// False at the end of the file. Throws an Error naming the file if it is damaged.
  virtual bool next(Record& record) = 0;
};

/// Opens a file of any format. Lines and text files longer than `max_document_bytes` come as kTooLong.
std::unique_ptr<RecordSource> open_records(const DataFile& file, int64_t max_document_bytes);

}  // namespace seer
