#include "trainer/micro_batch.h"

#include <algorithm>
#include <cstring>

namespace seer {
namespace {

/// Bytes of all tables of a pack with as many sequences as `capacity` tokens can hold.
size_t table_bytes(int64_t capacity, const std::vector<int64_t>& block_sizes) {
  const auto sequences = static_cast<size_t>(std::max<int64_t>(1, capacity / block_sizes.front()));
  const size_t each = sizeof(Segment) + 2 * sizeof(RowSpan) +
                      block_sizes.size() * (sizeof(ScoreSegment) + 2 * sizeof(RowSpan));
  return sequences * each + 64 * (3 + 3 * block_sizes.size());
}

}  // namespace

MicroBatch::MicroBatch(Backend& backend, int64_t capacity, const std::vector<int64_t>& block_sizes)
    : capacity_(capacity),
      host_ids_(backend.allocate(capacity * sizeof(int32_t), Memory::kHostPinned)),
      ids_(backend.allocate(capacity * sizeof(int32_t), Memory::kDevice)),
      host_tables_(backend.allocate(table_bytes(capacity, block_sizes), Memory::kHostPinned)),
      tables_(backend.allocate(table_bytes(capacity, block_sizes), Memory::kDevice)) {
  SEER_CHECK(!block_sizes.empty() && std::is_sorted(block_sizes.begin(), block_sizes.end()), "block sizes");
  for (const int64_t size : block_sizes) {
    blocks_.emplace_back();
    blocks_.back().block_size = size;
  }
}

template <typename T>
void MicroBatch::upload(Backend& backend, Queue& queue, Table<T>& table) {
  const size_t bytes = table.host.size() * sizeof(T);
  SEER_CHECK(tables_used_ + bytes <= tables_.bytes(), "tables of {} bytes", tables_.bytes());
  auto* staged = static_cast<std::byte*>(host_tables_.data()) + tables_used_;
  auto* device = static_cast<std::byte*>(tables_.data()) + tables_used_;
  std::memcpy(staged, table.host.data(), bytes);
  const Shape shape{static_cast<int64_t>(bytes)};
  backend.copy(queue, ConstTensor(staged, DType::kU8, shape), Tensor(device, DType::kU8, shape));
  table.device = ConstTensor(device, DType::kU8, shape);
  tables_used_ += (bytes + 63) / 64 * 64;
}

void MicroBatch::assign(Backend& backend, Queue& queue, const TokenSequence& sequence) {
  const auto tokens = static_cast<int64_t>(sequence.ids.size());
  SEER_CHECK(tokens <= capacity_, "{} tokens in a micro-batch of {}", tokens, capacity_);
  layout_.assign_packed(sequence.cu_seqlens);
  SEER_CHECK(layout_.num_query_rows == tokens, "boundaries end at {} of {} tokens", layout_.num_query_rows,
             tokens);
  std::memcpy(host_ids_.data(), sequence.ids.data(), sequence.ids.size() * sizeof(int32_t));
  const Shape shape{tokens};
  backend.copy(queue, host_ids_.tensor(DType::kI32, shape), ids_.tensor(DType::kI32, shape));
  tables_used_ = 0;
  upload(backend, queue, layout_.segments);
  upload(backend, queue, layout_.rows);
  upload(backend, queue, layout_.key_rows);
  for (ScoreLayout& blocks : blocks_) {
    blocks.assign_prefill(layout_, blocks.block_size);
    upload(backend, queue, blocks.segments);
    upload(backend, queue, blocks.query_rows);
    upload(backend, queue, blocks.key_rows);
  }
}

void MicroBatch::assign_worst_case() {
  layout_ = BatchLayout();
  layout_.num_query_rows = layout_.num_key_rows = capacity_;
  for (ScoreLayout& blocks : blocks_) blocks = ScoreLayout::worst_case(capacity_, blocks.block_size);
}

const ScoreLayout& MicroBatch::blocks(int64_t block_size) const {
  const auto it = std::find_if(blocks_.begin(), blocks_.end(),
                               [&](const ScoreLayout& layout) { return layout.block_size == block_size; });
  SEER_CHECK(it != blocks_.end(), "no layout for blocks of {}", block_size);
  return *it;
}

}  // namespace seer
