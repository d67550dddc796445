// The older way to store a byte-level BPE: vocab.json, merges.txt and tokenizer_config.json.
#pragma once

#include <filesystem>

#include "data/tokenizer_spec.h"

namespace seer {

/// Reads the three files of `folder`. They do not say how text is cut, so tokenizer_config.json must name a
/// class that we know: Qwen2Tokenizer (NFC, Qwen2's regex, added_tokens_decoder, nothing in front).
/// merges.txt may start with a "#version" line and have CRLF line ends. Throws Error naming file and key or
/// line.
TokenizerSpec read_vocab_and_merges(const std::filesystem::path& folder);

}  // namespace seer
