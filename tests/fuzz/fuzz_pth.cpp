// libFuzzer target: whatever the bytes, the .pth reader returns tensors or throws seer::Error. Zip archives
// carry checksums that mutations rarely hit, so inputs that do not start like a zip are run as the pickle
// inside one.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "src/core/error.h"
#include "src/io/pickle_flatten.h"
#include "src/io/pth.h"

namespace {

void read_archive(std::span<const std::byte> bytes) {
  const auto file = seer::PthFile::parse(bytes, "fuzz.pth");
  for (const seer::OwnedTensor& tensor : file.tensors()) {
    if (file.find(tensor.name) != &tensor) std::abort();
    seer::all_finite(tensor.bytes.data(), tensor.dtype, tensor.view().numel());
  }
}

void read_pickle(std::span<const std::byte> bytes) {
  const seer::PickleGraph graph = seer::run_pickle(bytes, "fuzz.pkl");
  for (const auto& [name, position] : seer::flatten_pickle(graph, "fuzz.pkl").tensors) {
    if (graph.tensors.at(position).shape.size() != graph.tensors[position].strides.size()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const bool zip = std::string_view(reinterpret_cast<const char*>(data), size).starts_with("PK");
  try {
    zip ? read_archive(bytes) : read_pickle(bytes);
  } catch (const seer::Error&) {  // NOLINT(bugprone-empty-catch): refusing is what a reader should do
  }
  return 0;
}
