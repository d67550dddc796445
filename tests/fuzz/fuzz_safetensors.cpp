// libFuzzer target: whatever the bytes, the safetensors reader returns a file or throws seer::Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "src/core/error.h"
#include "src/io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = seer::SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
    for (const seer::NamedTensor& tensor : file.tensors()) {
      if (file.find(tensor.name) != &tensor) std::abort();
      seer::all_finite(tensor.bytes.data(), tensor.dtype, tensor.numel());
    }
  } catch (const seer::Error&) {  // NOLINT(bugprone-empty-catch): refusing is what a reader should do
  }
  return 0;
}
