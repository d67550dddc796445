// Fuzzes the reader of a model's config.json: whatever the text, it is read or refused with a seer::Error.
#include <cstdint>
#include <string>

#include "src/core/error.h"
#include "src/model/model_config.h"
#include "src/model/rope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const seer::ModelConfig config = seer::parse_model_config(text, "fuzz");
    // Sizes are only bounded by the weights they are checked against later.
    if (config.head_dim <= 4096) seer::rope_frequencies(config.rope, config.head_dim);
  } catch (const seer::Error&) {
  }
  return 0;
}
