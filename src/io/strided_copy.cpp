#include "src/io/strided_copy.h"

#include <cstring>

#include "src/core/error.h"
#include "src/io/named_tensor.h"

namespace seer {
namespace {

// One axis after merging: `count` steps of `stride` elements.
struct Axis {
  int64_t count;
  int64_t stride;
};

// Drops axes of extent 1 and merges neighbours that one stride covers; a contiguous view becomes one axis.
std::vector<Axis> merge_axes(std::span<const int64_t> shape, std::span<const int64_t> strides) {
  std::vector<Axis> axes;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    if (!axes.empty() && axes.back().stride == shape[i] * strides[i]) {
      axes.back() = {axes.back().count * shape[i], strides[i]};
    } else {
      axes.push_back({shape[i], strides[i]});
    }
  }
  if (axes.empty()) axes.push_back({1, 1});
  return axes;
}

template <size_t kBytes>
void copy_run(const std::byte* from, const Axis& axis, std::byte* to) {
  if (axis.stride == 1) {
    std::memcpy(to, from, static_cast<size_t>(axis.count) * kBytes);
    return;
  }
  for (int64_t i = 0; i < axis.count; ++i)
    std::memcpy(to + i * kBytes, from + i * axis.stride * kBytes, kBytes);
}

template <size_t kBytes>
void copy_all(const std::byte* storage, int64_t offset, std::span<const Axis> axes,
              std::span<std::byte> out) {
  const Axis inner = axes.back();
  const std::span<const Axis> outer = axes.first(axes.size() - 1);
  std::vector<int64_t> counter(outer.size(), 0);
  const size_t run = static_cast<size_t>(inner.count) * kBytes;
  for (size_t done = 0; done < out.size(); done += run) {
    copy_run<kBytes>(storage + offset * kBytes, inner, out.data() + done);
    for (size_t axis = outer.size(); axis-- > 0;) {
      offset += outer[axis].stride;
      if (++counter[axis] < outer[axis].count) break;
      offset -= outer[axis].count * outer[axis].stride;
      counter[axis] = 0;
    }
  }
}

}  // namespace

std::vector<std::byte> copy_strided(std::span<const std::byte> storage, size_t element_bytes, int64_t offset,
                                    std::span<const int64_t> shape, std::span<const int64_t> strides) {
  const std::optional<int64_t> numel = checked_numel(shape);
  SEER_CHECK(numel && shape.size() == strides.size(), "shape {}, strides {}", shape_text(shape),
             shape_text(strides));
  std::vector<std::byte> out(static_cast<size_t>(*numel) * element_bytes);
  if (out.empty()) return out;
  const std::vector<Axis> axes = merge_axes(shape, strides);
  switch (element_bytes) {
    case 1:
      copy_all<1>(storage.data(), offset, axes, out);
      break;
    case 2:
      copy_all<2>(storage.data(), offset, axes, out);
      break;
    case 4:
      copy_all<4>(storage.data(), offset, axes, out);
      break;
    case 8:
      copy_all<8>(storage.data(), offset, axes, out);
      break;
    default:
      fail("cannot copy elements of {} bytes", element_bytes);
  }
  return out;
}

}  // namespace seer
