#include "cuda/attention/dispatch.h"

#include <algorithm>

#include "cuda/attention/attention.h"
#include "cuda/attention/decode.h"
#include "cuda/attention/schedule.h"
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr size_t kAlignment = 256;
constexpr int64_t kScratchBytes = 160'000'000;

/// A fused kernel and how the workspace is shared out: tile list, counter, scratch of each thread block.
struct Fused {
  bool hopper;
  int thread_blocks;
  int64_t max_tiles;
  int64_t scratch_blocks;

  size_t tiles_bytes() const { return ceil_div(max_tiles * sizeof(QueryTile), kAlignment) * kAlignment; }
  size_t scratch_bytes() const {
    return static_cast<size_t>(thread_blocks) * scratch_blocks * kQueryTile * sizeof(float);
  }
  size_t bytes() const { return tiles_bytes() + kAlignment + scratch_bytes(); }
};

Fused fused_for(const AttentionChoice& choice, const AttentionArgs& args) {
  const int64_t head_dim = args.q.dim(2);
  const bool hopper = choice.hopper && hopper_supports(head_dim);
  if (!hopper && !portable_supports(head_dim)) {
    fail("head_dim {}: the bf16 attention kernels take 16, 32, 64, 96, 128 and 256: use precision \"fp32\"",
         head_dim);
  }
  // The planner's layouts have totals and no segments: as many as there are sequences.
  const int64_t segments = std::max<int64_t>(args.layout->sequences, args.layout->segments.host.size());
  const int64_t scratch_blocks = args.blocks != nullptr ? args.blocks->max_blocks : 0;
  int64_t thread_blocks = hopper ? hopper_thread_blocks(head_dim, choice.sm_count)
                                 : portable_thread_blocks(head_dim, choice.sm_count);
  // Several thread blocks an SM are faster, but each waits with maxima of its own: beyond kScratchBytes one has to do.
  const auto scratch_each = static_cast<int64_t>(scratch_blocks * kQueryTile * sizeof(float));
  if (thread_blocks * scratch_each > kScratchBytes) {
    thread_blocks = std::min(thread_blocks, std::max<int64_t>(choice.sm_count, kScratchBytes / scratch_each));
  }
  return {.hopper = hopper,
          .thread_blocks = static_cast<int>(thread_blocks),
          .max_tiles = args.layout->num_query_rows / kQueryTile + std::max<int64_t>(segments, 1),
          .scratch_blocks = scratch_blocks};
}

/// Whether a layout of single rows would make it a call for the decode kernel: all that a planner knows.
bool may_decode(const AttentionArgs& args) {
  return decode_supports(args.q.dim(2)) && args.blocks == nullptr && !args.output.empty();
}
void attention_decode(cudaStream_t stream, const AttentionChoice& choice, AttentionParams p,
                      const AttentionArgs& args) {
  const std::vector<Segment>& segments = args.layout->segments.host;
  const auto rows = std::ssize(segments);
  int64_t keys = 0;
  for (const Segment& segment : segments) keys = std::max(keys, segment.queries.position + 1);
  p.scratch = static_cast<float*>(args.workspace.raw());
  attention_decode(p, rows, share_out_decode(p, rows, keys, choice.sm_count), args.q.dim(2), stream);
}

}  // namespace

bool is_decode(const AttentionArgs& args) {
  const std::vector<Segment>& segments = args.layout->segments.host;
  return may_decode(args) && std::ssize(segments) <= kMostDecodeRows &&
         std::all_of(segments.begin(), segments.end(),
                     [](const Segment& segment) { return segment.queries.rows == 1; });
}

size_t attention_workspace(const AttentionChoice& choice, const AttentionArgs& args) {
  if (choice.precision == DType::kF32) return attention_fp32_workspace(args);
  const size_t fused = fused_for(choice, args).bytes();
  if (!may_decode(args)) return fused;
  const int64_t rows = std::min(args.layout->num_query_rows, kMostDecodeRows);
  return std::max(fused, decode_scratch_bytes(rows, args.head_count, args.q.dim(2), choice.sm_count));
}

void attention(cudaStream_t stream, const AttentionChoice& choice, const AttentionArgs& args) {
  if (choice.precision == DType::kF32) return attention_fp32(stream, args);
  const Fused fused = fused_for(choice, args);
  int64_t num_tiles = 0;
  for (const Segment& segment : args.layout->segments.host) {
    num_tiles += ceil_div(segment.queries.rows, kQueryTile);
  }
  if (num_tiles == 0) return;
  AttentionParams p{.q = bf16_elements(args.q),
                    .k = bf16_elements(args.k),
                    .q_stride = args.q.row_stride(),
                    .k_stride = args.k.row_stride(),
                    .query_rows = args.q.rows(),
                    .key_rows = args.k.rows(),
                    .heads = static_cast<int32_t>(args.q.dim(1)),
                    .kv_heads = static_cast<int32_t>(args.k.dim(1)),
                    .head_begin = static_cast<int32_t>(args.head_begin),
                    .head_count = static_cast<int32_t>(args.head_count),
                    .scale_log2 = static_cast<float>(args.scale * kLog2E),
                    .segments = device_table(args.layout->segments)};
  if (!args.output.empty()) {
    p.v = bf16_elements(args.v);
    p.v_stride = args.v.row_stride();
    p.o = const_cast<__nv_bfloat16*>(bf16_elements(args.output));
    p.o_stride = args.output.row_stride();
  }
  if (!args.logsumexp.empty()) {
    p.logsumexp = args.logsumexp.data<float>();
    p.logsumexp_stride = args.logsumexp.dim(1);
  }
  if (is_decode(args)) return attention_decode(stream, choice, p, args);

  auto* workspace = static_cast<std::byte*>(args.workspace.raw());
  auto* tiles = reinterpret_cast<QueryTile*>(workspace);
  auto* counter = reinterpret_cast<int32_t*>(workspace + fused.tiles_bytes());
  p.tiles = tiles;
  p.num_tiles = static_cast<int32_t>(num_tiles);
  p.tile_counter = counter;
  if (!args.block_log_max.empty()) {
    p.block_log_max = args.block_log_max.data<float>();
    p.blocks = device_table(args.blocks->segments);
    p.block_size = static_cast<int32_t>(args.blocks->block_size);
    p.scratch = reinterpret_cast<float*>(workspace + fused.tiles_bytes() + kAlignment);
    p.scratch_blocks = fused.scratch_blocks;
  }
  order_tiles(p.segments, static_cast<int32_t>(args.layout->segments.host.size()), p.num_tiles, tiles,
              stream);
  check(cudaMemsetAsync(counter, 0, sizeof(int32_t), stream), "cudaMemsetAsync");
  if (fused.hopper)
    attention_hopper(p, args.q.dim(2), fused.thread_blocks, stream);
  else
    attention_portable(p, args.q.dim(2), fused.thread_blocks, stream);
}

}  // namespace seer::cuda
