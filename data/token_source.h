// Documents that are token ids already: .npy and .safetensors.
#pragma once

#include <cstdint>
#include <memory>

#include "data/record.h"

namespace seer {

/// A 1-D array is one document, the rows of a 2-D array are documents; in a .safetensors file the array is
/// the integer tensor `input_ids`, and the integer tensor `cu_seqlens` beside a 1-D one bounds its documents
/// (0, ascending, the array's length last). A document comes in pieces of at most `piece_tokens` ids. An
/// array of no ids holds no documents.
std::unique_ptr<RecordSource> open_ids(const DataFile& file, int64_t piece_tokens = int64_t{1} << 20);

}  // namespace seer
