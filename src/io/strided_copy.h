// From a strided window of a buffer to contiguous elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace seer {

/// The elements of a strided view in row-major order. `offset` and `strides` count elements of
/// `element_bytes` (1, 2, 4 or 8). The caller has checked that every element lies inside `storage`.
std::vector<std::byte> copy_strided(std::span<const std::byte> storage, size_t element_bytes, int64_t offset,
                                    std::span<const int64_t> shape, std::span<const int64_t> strides);

}  // namespace seer
