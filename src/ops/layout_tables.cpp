#include "src/ops/layout_tables.h"

#include <cstring>

namespace seer {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kTablesOfALayout = 3;

}  // namespace

LayoutTables::LayoutTables(Backend& backend, size_t bytes)
    : host_(backend.allocate(bytes, Memory::kHostPinned)),
      device_(backend.allocate(bytes, Memory::kDevice)) {}

size_t LayoutTables::bytes_for(int64_t segments, int64_t score_layouts) {
  const size_t each =
      sizeof(Segment) + 2 * sizeof(RowSpan) + score_layouts * (sizeof(ScoreSegment) + 2 * sizeof(RowSpan));
  return segments * each + kAlignment * kTablesOfALayout * (1 + score_layouts);
}

ConstTensor LayoutTables::upload(Backend& backend, Queue& queue, const void* data, size_t bytes) {
  SEER_CHECK(used_ + bytes <= device_.bytes(), "tables of {} bytes", device_.bytes());
  auto* staged = static_cast<std::byte*>(host_.data()) + used_;
  auto* device = static_cast<std::byte*>(device_.data()) + used_;
  std::memcpy(staged, data, bytes);
  const Shape shape{static_cast<int64_t>(bytes)};
  backend.copy(queue, ConstTensor(staged, DType::kU8, shape), Tensor(device, DType::kU8, shape));
  used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return {device, DType::kU8, shape};
}

void LayoutTables::upload(Backend& backend, Queue& queue, BatchLayout& layout) {
  upload(backend, queue, layout.segments);
  upload(backend, queue, layout.rows);
  upload(backend, queue, layout.key_rows);
}

void LayoutTables::upload(Backend& backend, Queue& queue, ScoreLayout& layout) {
  upload(backend, queue, layout.segments);
  upload(backend, queue, layout.query_rows);
  upload(backend, queue, layout.key_rows);
}

}  // namespace seer
