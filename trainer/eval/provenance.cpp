#include "trainer/eval/provenance.h"

#include <fmt/format.h>

#include "src/io/atomic_file.h"
#include "src/io/checksum.h"
#include "src/io/model_files.h"
#include "trainer/gate_training.h"
#include "trainer/gates_folder.h"

namespace seer {
namespace {

std::string hex(const Crc32& crc) {
  return fmt::format("{:08x}", crc.value());
}

}  // namespace

std::string model_checksum(const std::filesystem::path& folder) {
  Crc32 crc;
  crc.add(read_text_file(folder / "config.json"));
  crc.add(fmt::format("{}", ModelFiles(folder).fingerprint()));
  return hex(crc);
}

std::string gates_checksum(const std::filesystem::path& folder) {
  const GateEntryConfig entry = read_gate_entry(folder);
  Crc32 crc;
  crc.add(fmt::format("{} {} {} {} {} {}", entry.type, entry.block_size, entry.hidden_size,
                      entry.force_double, entry.key_pieces, entry.distance_bias));
  for (const OwnedTensor& tensor : read_gates(folder)) {
    crc.add(tensor.name);
    crc.add(tensor.bytes);
  }
  return hex(crc);
}

}  // namespace seer
