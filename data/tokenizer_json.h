// tokenizer.json, the file of Hugging Face's tokenizers library.
#pragma once

#include <string>
#include <string_view>

#include "data/tokenizer_spec.h"

namespace seer {

/// Reads a byte-level BPE tokenizer. Throws Error, starting with `where`, that names the key which is
/// missing, of the wrong type, or holds something that is not supported. Ids and merges are not checked yet.
TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& where);

}  // namespace seer
