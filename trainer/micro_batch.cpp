#include "trainer/micro_batch.h"

#include <algorithm>
#include <cstring>

namespace seer {
namespace {

/// Tables of a pack with as many sequences as `capacity` tokens can hold.
size_t table_bytes(int64_t capacity, const std::vector<int64_t>& block_sizes) {
  return LayoutTables::bytes_for(std::max<int64_t>(1, capacity / block_sizes.front()),
                                 static_cast<int64_t>(block_sizes.size()));
}

}  // namespace

MicroBatch::MicroBatch(Backend& backend, int64_t capacity, const std::vector<int64_t>& block_sizes)
    : capacity_(capacity),
      host_ids_(backend.allocate(capacity * sizeof(int32_t), Memory::kHostPinned)),
      ids_(backend.allocate(capacity * sizeof(int32_t), Memory::kDevice)),
      tables_(backend, table_bytes(capacity, block_sizes)) {
  SEER_CHECK(!block_sizes.empty() && std::is_sorted(block_sizes.begin(), block_sizes.end()), "block sizes");
  for (const int64_t size : block_sizes) {
    blocks_.emplace_back();
    blocks_.back().block_size = size;
  }
}

void MicroBatch::assign(Backend& backend, Queue& queue, const TokenSequence& sequence) {
  const auto tokens = static_cast<int64_t>(sequence.ids.size());
  SEER_CHECK(tokens <= capacity_, "{} tokens in a micro-batch of {}", tokens, capacity_);
  layout_.assign_packed(sequence.cu_seqlens);
  SEER_CHECK(layout_.num_query_rows == tokens, "boundaries end at {} of {} tokens", layout_.num_query_rows,
             tokens);
  boundaries_.assign(sequence.cu_seqlens.begin(), sequence.cu_seqlens.end());
  std::memcpy(host_ids_.data(), sequence.ids.data(), sequence.ids.size() * sizeof(int32_t));
  const Shape shape{tokens};
  backend.copy(queue, host_ids_.tensor(DType::kI32, shape), ids_.tensor(DType::kI32, shape));
  tables_.reset();
  tables_.upload(backend, queue, layout_);
  for (ScoreLayout& blocks : blocks_) {
    blocks.assign_prefill(layout_, blocks.block_size);
    tables_.upload(backend, queue, blocks);
  }
}

bool MicroBatch::holds(const TokenSequence& sequence) const {
  return boundaries_ == sequence.cu_seqlens && static_cast<int64_t>(sequence.ids.size()) == tokens() &&
         std::memcmp(host_ids_.data(), sequence.ids.data(), sequence.ids.size() * sizeof(int32_t)) == 0;
}

void MicroBatch::assign_worst_case() {
  layout_ = BatchLayout();
  layout_.num_query_rows = layout_.num_key_rows = capacity_;
  layout_.sequences = std::max<int64_t>(1, capacity_ / (2 * blocks_.front().block_size));
  for (ScoreLayout& blocks : blocks_) blocks = ScoreLayout::worst_case(capacity_, blocks.block_size);
}

const ScoreLayout& MicroBatch::blocks(int64_t block_size) const {
  const auto it = std::find_if(blocks_.begin(), blocks_.end(),
                               [&](const ScoreLayout& layout) { return layout.block_size == block_size; });
  SEER_CHECK(it != blocks_.end(), "no layout for blocks of {}", block_size);
  return *it;
}

}  // namespace seer
