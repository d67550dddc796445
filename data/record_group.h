// The unit of work that travels from the reader through a tokenizing worker to the assembler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "data/loader_options.h"
#include "data/record.h"
#include "data/token_encoder.h"

namespace seer {

/// The tokens of one record, or why it has none.
struct EncodedRecord {
  std::vector<int32_t> ids;
  int64_t line = 0;
  bool begins_document = true;
  bool ends_document = true;
  std::string problem;  ///< Not empty: a bad line.
};

/// Consecutive records of one file, grouped so that tiny documents do not pay for a hand-over each.
struct RecordGroup {
  int64_t epoch = 0;
  int64_t place = 0;               ///< Of the file in the epoch's order.
  int64_t first_record = 0;        ///< Index of records[0] in the file.
  const DataFile* file = nullptr;  ///< Null for a group that only ends an epoch or carries an error.
  std::vector<Record> records;     ///< Until they are encoded.
  std::vector<EncodedRecord> encoded;
  bool ends_epoch = false;
  std::exception_ptr error;  ///< Follows the encoded records; nothing comes after it.

  /// Roughly the memory it holds, in bytes.
  size_t weight() const;
};

/// Parses and tokenizes the group's records and adds separators. A line that cannot be used becomes a
/// problem; anything worse (an id outside the vocabulary) ends up in `group.error`. Thread-safe for different
/// groups.
void encode_group(const LoaderOptions& options, const TokenEncoder* encoder, RecordGroup& group);

}  // namespace seer
