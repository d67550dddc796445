// The JSON header of a safetensors file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "src/core/dtype.h"

namespace seer {

/// The header as written: entries are not yet checked against the data or against each other.
struct SafetensorsHeader {
  /// PyTorch's own limit; it keeps a lying header from asking for millions of extents.
  static constexpr size_t kMaxRank = 64;

  struct Entry {
    std::string name;
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;  ///< Extents >= 0.
    uint64_t begin = 0;          ///< Offsets in bytes from the start of the data.
    uint64_t end = 0;
  };

  std::vector<Entry> entries;  ///< In the order of the JSON text; duplicate names are still there.
  std::map<std::string, std::string> metadata;
};

/// Parses the JSON text of a header. Runs in one pass, with memory proportional to the text. Throws an Error
/// naming `file` and, where there is one, the tensor for everything the format does not allow: other fields,
/// other types, repeated fields, dtypes that seer::DType lacks, negative or fractional numbers.
SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file);

/// The JSON text, padded with spaces to a multiple of 8 bytes. Throws an Error naming `file` if a name is
/// used twice, is "__metadata__", or is not UTF-8, and if the text is longer than the format allows.
std::string format_safetensors_header(const SafetensorsHeader& header, const std::string& file);

}  // namespace seer
