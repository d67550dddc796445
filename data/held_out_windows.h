// Windows of held-out documents, as perplexity is measured on them (SEMANTICS 9).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/loader_options.h"
#include "data/token_encoder.h"

namespace seer {

/// The token ids of every document of options.files, in order, as the encoder gives them (with a BOS where the tokenizer
/// adds one); nothing is joined or shuffled. Throws Error naming file and line of a document that cannot be read or holds
/// ids outside options.vocab_size.
/// With `most` not 0, only the first so many are read.
std::vector<std::vector<int32_t>> read_documents(const LoaderOptions& options, const TokenEncoder* encoder,
                                                 int64_t most = 0);

struct WindowOptions {
  int64_t length = 8192;       ///< Tokens of a window, BOS included
  int64_t per_document = 1;    ///< At most so many windows of a document, one behind the other
  std::optional<int32_t> bos;  ///< Put in front of every window
  /// Leave the BOS with which a document begins in its text: its first window then holds two, as in the published
  /// measurements.
  bool keep_document_bos = false;
};

/// The windows of all documents, in order. Windows that a document is too short for are left out.
std::vector<std::vector<int32_t>> cut_windows(std::span<const std::vector<int32_t>> documents,
                                              const WindowOptions& options);

}  // namespace seer
