// Arbitrary bytes as a tokenizer.json and, behind its last NUL byte, a text for it to encode.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"
#include "data/unicode.h"
#include "src/core/error.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const seer::Tokenizer& tokenizer, std::string_view text) {
  for (const bool flag : {false, true}) {
    const auto ids = tokenizer.encode(text, {.add_special_tokens = flag, .parse_special = flag});
    for (const int32_t id : ids) {
      require(id >= 0 && id < tokenizer.vocab_size());
      require(!tokenizer.id_to_token(id).empty());
    }
    // The text comes back, unless the file has a normaliser and the text is more than ASCII.
    const std::string decoded = tokenizer.decode(ids);
    if (!flag) {
      std::string storage;
      const bool valid = seer::valid_utf8_prefix(text) == text.size();
      require(decoded == text || !valid || decoded == seer::to_nfc(text, storage));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = bytes.rfind('\0');
  try {
    const auto tokenizer = seer::Tokenizer::from_json(bytes.substr(0, end), "fuzz");
    check(tokenizer, end == std::string_view::npos ? "Don't  \xc3\xa9\xff<s>" : bytes.substr(end + 1));
  } catch (const seer::Error&) {
  }
  return 0;
}
