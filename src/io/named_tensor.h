// A tensor as files know it: a name, a dtype, a shape of any rank and its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/core/dtype.h"

namespace seer {

/// View of one tensor, row-major and contiguous. The bytes belong to somebody else (a mapped file, a buffer)
/// and may start at any address: files do not promise alignment, so copy or convert them before typed access.
struct NamedTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  ///< Empty for a single value (rank 0).
  std::span<const std::byte> bytes;

  /// Product of the extents: 1 for rank 0. Meaningful for shapes that checked_numel() accepts.
  int64_t numel() const;
};

/// Product of the extents; nothing if an extent is negative or the product of the non-zero extents does not
/// fit int64_t.
std::optional<int64_t> checked_numel(std::span<const int64_t> shape);

/// numel * size_of(dtype); nothing where checked_numel() has nothing or the product does not fit.
std::optional<int64_t> checked_bytes(std::span<const int64_t> shape, DType dtype);

/// "[32, 384, 128]", as error messages and `inspect` print it.
std::string shape_text(std::span<const int64_t> shape);

}  // namespace seer
