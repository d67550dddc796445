#include "data/held_out_windows.h"

#include <algorithm>

#include "data/record_group.h"
#include "src/core/error.h"

namespace seer {

std::vector<std::vector<int32_t>> read_documents(const LoaderOptions& options, const TokenEncoder* encoder,
                                                 const ReadLimits& limits) {
  LoaderOptions plain = options;
  plain.separator.reset();
  std::vector<std::vector<int32_t>> documents;
  int64_t tokens = 0;
  for (const DataFile& file : expand_inputs(plain.files)) {
    const bool text = file.format == DataFormat::kJsonLines || file.format == DataFormat::kText;
    if (text && encoder == nullptr) {
      fail_usage("{} is text, and the model has no tokenizer: give token ids (.npy, .safetensors)",
                 file.path.string());
    }
    const auto source = open_records(file, plain.max_document_bytes);
    Record record;
    while (source->next(record)) {
      RecordGroup group;
      group.file = &file;
      group.records.push_back(std::move(record));
      encode_group(plain, encoder, group);
      if (group.error) std::rethrow_exception(group.error);
      EncodedRecord& encoded = group.encoded.front();
      if (!encoded.problem.empty()) fail("{}:{}: {}", file.path.string(), encoded.line, encoded.problem);
      if (encoded.begins_document || documents.empty()) {
        if (limits.documents > 0 && std::ssize(documents) == limits.documents) return documents;
        documents.emplace_back();
        --tokens;
      }
      std::vector<int32_t>& ids = documents.back();
      ids.insert(ids.end(), encoded.ids.begin(), encoded.ids.end());
      tokens += std::ssize(encoded.ids);
      if (limits.tokens > 0 && tokens >= limits.tokens) return documents;
      record = Record{};
    }
  }
  return documents;
}

std::vector<int32_t> join_documents(std::span<const std::vector<int32_t>> documents,
                                    std::optional<int32_t> bos) {
  std::vector<int32_t> joined;
  for (const std::vector<int32_t>& ids : documents) {
    const bool has_bos = bos && !ids.empty() && ids.front() == *bos;
    joined.insert(joined.end(), ids.begin() + (has_bos ? 1 : 0), ids.end());
  }
  return joined;
}

namespace {

/// What windows are cut from, and new tokens of each.
std::span<const int32_t> text_of(std::span<const int32_t> document, const WindowOptions& options) {
  const bool has_bos = options.bos && !document.empty() && document.front() == *options.bos;
  return document.subspan(has_bos && !options.keep_document_bos ? 1 : 0);
}
int64_t step_of(const WindowOptions& options) {
  SEER_CHECK(options.length >= 2 && options.per_document >= 1, "{} windows of {} tokens",
             options.per_document, options.length);
  return options.length - (options.bos ? 1 : 0);
}

}  // namespace

int64_t windows_in(std::span<const int32_t> document, const WindowOptions& options) {
  return std::min(options.per_document, std::ssize(text_of(document, options)) / step_of(options));
}

std::vector<std::vector<int32_t>> cut_windows(std::span<const std::vector<int32_t>> documents,
                                              const WindowOptions& options) {
  std::vector<std::vector<int32_t>> windows;
  const int64_t step = step_of(options);
  for (const std::vector<int32_t>& document : documents) {
    const std::span<const int32_t> text = text_of(document, options);
    const int64_t count = windows_in(document, options);
    for (int64_t w = 0; w < count; ++w) {
      std::vector<int32_t>& window = windows.emplace_back();
      window.reserve(options.length);
      if (options.bos) window.push_back(*options.bos);
      const auto part = text.subspan(w * step, step);
      window.insert(window.end(), part.begin(), part.end());
    }
  }
  return windows;
}

}  // namespace seer
