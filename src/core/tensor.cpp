#include "src/core/tensor.h"

#include <algorithm>

#include <fmt/ranges.h>

namespace seer {

Shape::Shape(std::initializer_list<int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  SEER_CHECK(extents.size() <= kMaxRank, "{} axes", extents.size());
  std::copy(extents.begin(), extents.end(), extents_.begin());
}

std::string to_string(const Shape& shape) {
  std::array<int64_t, Shape::kMaxRank> extents{};
  for (int i = 0; i < shape.rank(); ++i) extents[i] = shape[i];
  return fmt::format("[{}]", fmt::join(extents.begin(), extents.begin() + shape.rank(), ", "));
}

}  // namespace seer
