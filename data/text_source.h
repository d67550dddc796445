// Documents of text: JSONL and plain text files.
#pragma once

#include <cstdint>
#include <memory>

#include "data/record.h"

namespace seer {

/// A record for each line that is not blank.
std::unique_ptr<RecordSource> open_json_lines(const DataFile& file, int64_t max_line_bytes);

/// One record with the whole file, without its byte-order mark; none for an empty file.
std::unique_ptr<RecordSource> open_text(const DataFile& file, int64_t max_bytes);

}  // namespace seer
