#include "trainer/micro_batch.h"

#include <algorithm>
#include <cstring>

namespace seer {
namespace {

/// Tables of a pack with as many sequences as its tokens can hold, or of a share, which has two segments.
size_t table_bytes(const BatchShape& shape) {
  return LayoutTables::bytes_for(std::max<int64_t>(2, shape.capacity() / shape.block_sizes.front()),
                                 static_cast<int64_t>(shape.block_sizes.size()));
}

}  // namespace

MicroBatch::MicroBatch(Backend& backend, const BatchShape& shape)
    : shape_(shape),
      host_ids_(backend.allocate(shape.capacity() * sizeof(int32_t), Memory::kHostPinned)),
      ids_(backend.allocate(shape.capacity() * sizeof(int32_t), Memory::kDevice)),
      tables_(backend, table_bytes(shape)) {
  const std::vector<int64_t>& sizes = shape.block_sizes;
  SEER_CHECK(!sizes.empty() && std::is_sorted(sizes.begin(), sizes.end()), "block sizes");
  for (const int64_t size : sizes) {
    blocks_.emplace_back();
    blocks_.back().block_size = size;
  }
}

template <typename Body>
void MicroBatch::for_each_run(const TokenSequence& sequence, const Body& body) const {
  for (const Segment& segment : layout_.segments.host) {
    const int64_t begin = segment.key_row + segment.queries.position;
    body(segment.queries.row, std::span(sequence.ids).subspan(begin, segment.queries.rows));
  }
}

void MicroBatch::assign(Backend& backend, Queue& queue, const TokenSequence& sequence) {
  const auto tokens_in_all = static_cast<int64_t>(sequence.ids.size());
  SEER_CHECK(tokens_in_all <= shape_.max_tokens, "{} tokens in a micro-batch of {}", tokens_in_all,
             shape_.max_tokens);
  SEER_CHECK(!sequence.cu_seqlens.empty() && sequence.cu_seqlens.back() == tokens_in_all,
             "boundaries end at {} of {} tokens",
             sequence.cu_seqlens.empty() ? 0 : sequence.cu_seqlens.back(), tokens_in_all);
  if (shape_.place.context == 1) {
    layout_.assign_packed(sequence.cu_seqlens);
  } else {
    SEER_CHECK(sequence.cu_seqlens.size() == 2, "a pack of {} sequences is spread over ranks",
               sequence.cu_seqlens.size() - 1);
    layout_.assign_share(tokens_in_all, shape_.place.context_rank(), shape_.place.context);
  }
  boundaries_.assign(sequence.cu_seqlens.begin(), sequence.cu_seqlens.end());
  auto* ids = static_cast<int32_t*>(host_ids_.data());
  for_each_run(sequence, [&](int64_t row, std::span<const int32_t> run) {
    std::copy(run.begin(), run.end(), ids + row);
  });
  const Shape shape{tokens()};
  backend.copy(queue, host_ids_.tensor(DType::kI32, shape), ids_.tensor(DType::kI32, shape));
  tables_.reset();
  tables_.upload(backend, queue, layout_);
  for (ScoreLayout& blocks : blocks_) {
    blocks.assign_prefill(layout_, blocks.block_size);
    tables_.upload(backend, queue, blocks);
  }
}

bool MicroBatch::holds(const TokenSequence& sequence) const {
  if (boundaries_ != sequence.cu_seqlens) return false;
  const auto* ids = static_cast<const int32_t*>(host_ids_.data());
  bool same = true;
  for_each_run(sequence, [&](int64_t row, std::span<const int32_t> run) {
    same = same && std::equal(run.begin(), run.end(), ids + row);
  });
  return same;
}

void MicroBatch::assign_worst_case() {
  const int64_t capacity = shape_.capacity();
  layout_ = BatchLayout();
  layout_.num_query_rows = layout_.num_key_rows = capacity;
  layout_.sequences = std::max<int64_t>(1, capacity / (2 * blocks_.front().block_size));
  for (ScoreLayout& blocks : blocks_) blocks = ScoreLayout::worst_case(capacity, blocks.block_size);
}

const ScoreLayout& MicroBatch::blocks(int64_t block_size) const {
  const auto it = std::find_if(blocks_.begin(), blocks_.end(),
                               [&](const ScoreLayout& layout) { return layout.block_size == block_size; });
  SEER_CHECK(it != blocks_.end(), "no layout for blocks of {}", block_size);
  return *it;
}

}  // namespace seer
