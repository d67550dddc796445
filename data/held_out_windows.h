// Windows of held-out documents, as perplexity is measured on them (SEMANTICS 9).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/loader_options.h"
#include "data/token_encoder.h"

namespace seer {

/// Where to stop reading documents; 0: nowhere.
struct ReadLimits {
  int64_t documents = 0;  ///< After so many
  /// Once they hold so many ids, the first id of each not counted: it may be a BOS.
  int64_t tokens = 0;
};

/// The token ids of every document of options.files, in order, as the encoder gives them (with a BOS where the tokenizer
/// adds one); nothing is joined or shuffled. Throws Error naming file and line of a document that cannot be read or holds
/// ids outside options.vocab_size.
std::vector<std::vector<int32_t>> read_documents(const LoaderOptions& options, const TokenEncoder* encoder,
                                                 const ReadLimits& limits = {});

/// All documents in one, without the BOS that those may begin with.
std::vector<int32_t> join_documents(std::span<const std::vector<int32_t>> documents,
                                    std::optional<int32_t> bos);

struct WindowOptions {
  int64_t length = 8192;       ///< Tokens of a window, BOS included
  int64_t per_document = 1;    ///< At most so many windows of a document, one behind the other
  std::optional<int32_t> bos;  ///< Put in front of every window
  /// Leave the BOS with which a document begins in its text: its first window then holds two, as in the published
  /// measurements.
  bool keep_document_bos = false;
};

/// How many windows are cut from a document.
int64_t windows_in(std::span<const int32_t> document, const WindowOptions& options);

/// The windows of all documents, in order. Windows that a document is too short for are left out.
std::vector<std::vector<int32_t>> cut_windows(std::span<const std::vector<int32_t>> documents,
                                              const WindowOptions& options);

}  // namespace seer
