#include "data/record.h"

#include "data/text_source.h"
#include "data/token_source.h"

namespace seer {

std::unique_ptr<RecordSource> open_records(const DataFile& file, int64_t max_document_bytes) {
  switch (file.format) {
    case DataFormat::kJsonLines:
      return open_json_lines(file, max_document_bytes);
    case DataFormat::kText:
      return open_text(file, max_document_bytes);
    case DataFormat::kNpy:
    case DataFormat::kSafetensors:
      break;
  }
  return open_ids(file);
}

}  // namespace seer
