#include "src/ops/layout.h"

#include <algorithm>

#include "src/core/ceil_div.h"
#include "src/core/error.h"

namespace seer {

BatchLayout BatchLayout::packed(std::span<const int64_t> cu_seqlens) {
  BatchLayout layout;
  layout.assign_packed(cu_seqlens);
  return layout;
}

void BatchLayout::assign_packed(std::span<const int64_t> cu_seqlens) {
  SEER_CHECK(cu_seqlens.size() >= 2 && cu_seqlens[0] == 0, "cu_seqlens has {} entries", cu_seqlens.size());
  segments.host.clear();
  rows.host.clear();
  key_rows.host.clear();
  for (size_t i = 0; i + 1 < cu_seqlens.size(); ++i) {
    const int64_t begin = cu_seqlens[i];
    const int64_t length = cu_seqlens[i + 1] - begin;
    SEER_CHECK(length > 0, "sequence {} of the pack is empty", i);
    const RowSpan span{begin, length, 0};
    segments.host.push_back({span, begin, length, static_cast<int64_t>(i)});
    rows.host.push_back(span);
    key_rows.host.push_back(span);
  }
  sequences = static_cast<int64_t>(cu_seqlens.size()) - 1;
  num_query_rows = num_key_rows = cu_seqlens.back();
}

void BatchLayout::assign_share(int64_t length, int rank, int ranks) {
  SEER_CHECK(length > 0 && length % (2 * ranks) == 0, "a sequence of {} over {} ranks", length, ranks);
  const int64_t chunk = length / (2 * ranks);
  segments.host.clear();
  for (const int64_t number : {rank, 2 * ranks - 1 - rank}) {
    const RowSpan span{static_cast<int64_t>(segments.host.size()) * chunk, chunk, number * chunk};
    segments.host.push_back({span, 0, length, 0});
  }
  rows.host.clear();
  for (const Segment& segment : segments.host) rows.host.push_back(segment.queries);
  key_rows.host = rows.host;
  sequences = 1;
  num_query_rows = 2 * chunk;
  num_key_rows = length;
}

ScoreLayout ScoreLayout::prefill(const BatchLayout& batch, int64_t block_size) {
  ScoreLayout layout;
  layout.assign_prefill(batch, block_size);
  return layout;
}

void ScoreLayout::assign_prefill(const BatchLayout& batch, int64_t block) {
  kind = ScoreKind::kPrefill;
  block_size = block;
  segments.host.clear();
  query_rows.host.clear();
  key_rows.host.clear();
  sequences = batch.sequences;
  num_query_rows = num_key_rows = elements = max_blocks = 0;
  for (const Segment& s : batch.segments.host) {
    const bool new_sequence = segments.host.empty() || segments.host.back().sequence != s.sequence;
    const int64_t blocks = ceil_div(s.length, block);
    const int64_t end = s.queries.position + s.queries.rows;
    SEER_CHECK(s.queries.position % block == 0 && (end == s.length || end % block == 0),
               "query segment {}..{} of a sequence of {} does not fall on blocks of {}", s.queries.position,
               end, s.length, block);
    if (new_sequence) {
      key_rows.host.push_back({num_key_rows, blocks, 0});
      num_key_rows += blocks;
    }
    const RowSpan span{num_query_rows, ceil_div(s.queries.rows, block), s.queries.position / block};
    query_rows.host.push_back(span);
    segments.host.push_back(
        {span, num_key_rows - blocks, blocks, s.sequence, elements, blocks / 4, blocks - blocks / 4, blocks});
    num_query_rows += span.rows;
    elements += span.rows * blocks;
    max_blocks = std::max(max_blocks, blocks);
  }
}

ScoreLayout ScoreLayout::decode(const BatchLayout& batch, int64_t block, double loss_slice_ratio) {
  SEER_CHECK(loss_slice_ratio >= 0 && loss_slice_ratio < 1, "a loss over the rows from {} of a sequence on",
             loss_slice_ratio);
  ScoreLayout layout = prefill(batch, block);  // its pooled keys are the same
  layout.kind = ScoreKind::kDecode;
  layout.query_rows.host.clear();
  layout.num_query_rows = batch.num_query_rows;
  layout.elements = 0;
  for (size_t i = 0; i < batch.segments.host.size(); ++i) {
    const Segment& s = batch.segments.host[i];
    ScoreSegment& out = layout.segments.host[i];
    const auto first = static_cast<int64_t>(static_cast<double>(s.length) * loss_slice_ratio);
    out.queries = s.queries;
    out.matrix = layout.elements;
    out.first_loss_row = first;
    out.loss_rows = s.length - first;
    out.loss_columns = layout.max_blocks;
    layout.query_rows.host.push_back(s.queries);
    layout.elements += s.queries.rows * out.blocks;
  }
  return layout;
}

ScoreLayout ScoreLayout::worst_case(int64_t tokens, int64_t block) {
  ScoreLayout layout;
  layout.block_size = block;
  // A sequence of 2b+1 tokens has three blocks, the worst ratio that lengths of two blocks and more allow.
  layout.num_query_rows = layout.num_key_rows = ceil_div(3 * tokens, 2 * block) + 1;
  layout.max_blocks = ceil_div(tokens, block);
  layout.elements = std::max(layout.max_blocks * layout.max_blocks, 9 * ceil_div(tokens, 2 * block));
  layout.sequences = std::max<int64_t>(1, tokens / (2 * block));
  return layout;
}

}  // namespace seer
