#include <cstddef>
#include <limits>

#include "cuda/attention/attention.h"
#include "cuda/attention/dispatch.h"
#include "cuda/attention/sparse.h"
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "src/core/ceil_div.h"

namespace seer::cuda {
namespace {

constexpr size_t kAlignment = 256;

/// Heads, totals and block size: what the workspace depends on.
SparseParams shape_of(const SparseAttentionArgs& args) {
  constexpr int64_t kMost =
      std::numeric_limits<int32_t>::max();  // rows, positions and pieces of work are 32-bit
  if (args.q.rows() > kMost || args.k.rows() > kMost ||
      2 * args.blocks->num_query_rows * args.head_count > kMost) {
    fail("sparse attention: {} queries, {} keys and {} heads are too many for one launch", args.q.rows(),
         args.k.rows(), args.head_count);
  }
  return {.heads = static_cast<int32_t>(args.q.dim(1)),
          .kv_heads = static_cast<int32_t>(args.k.dim(1)),
          .head_begin = static_cast<int32_t>(args.head_begin),
          .head_count = static_cast<int32_t>(args.head_count),
          .block_size = static_cast<int32_t>(args.blocks->block_size),
          .block_rows = static_cast<int32_t>(args.blocks->num_query_rows)};
}

/// Of the workspace's first part: the work counter, then rows_together. The order follows.
size_t numbers_bytes(const SparseParams& shape) {
  return ceil_div((1 + kv_heads_used(shape)) * sizeof(int32_t), kAlignment) * kAlignment;
}

}  // namespace

size_t sparse_attention_workspace(const AttentionChoice& choice, const SparseAttentionArgs& args) {
  if (choice.precision == DType::kF32) return 0;
  const SparseParams shape = shape_of(args);
  const size_t order = sizeof(BlockRow) * kv_heads_used(shape) * shape.block_rows;
  return numbers_bytes(shape) + ceil_div(order, kAlignment) * kAlignment;
}

void sparse_attention(cudaStream_t stream, const AttentionChoice& choice, const SparseAttentionArgs& args) {
  if (choice.precision == DType::kF32) return sparse_attention_fp32(stream, args);
  const int64_t head_dim = args.q.dim(2);
  if (!portable_supports(head_dim)) {
    fail("head_dim {}: the bf16 attention kernels take 16, 32, 64, 96, 128 and 256: use precision \"fp32\"",
         head_dim);
  }
  if (most_rows(args.blocks->segments) == 0) return;
  auto* workspace = static_cast<std::byte*>(args.workspace.raw());
  SparseParams p = shape_of(args);
  auto* counter = reinterpret_cast<int32_t*>(workspace);
  int32_t* rows_together = counter + 1;
  auto* order = reinterpret_cast<BlockRow*>(workspace + numbers_bytes(p));
  p.q = bf16_elements(args.q);
  p.k = bf16_elements(args.k);
  p.v = bf16_elements(args.v);
  p.o = const_cast<__nv_bfloat16*>(bf16_elements(args.output));
  p.q_stride = args.q.row_stride();
  p.k_stride = args.k.row_stride();
  p.v_stride = args.v.row_stride();
  p.o_stride = args.output.row_stride();
  p.query_rows = args.q.rows();
  p.key_rows = args.k.rows();
  p.scale_log2 = static_cast<float>(args.scale * kLog2E);
  p.segments = device_table(args.layout->segments);
  p.matrices = device_table(args.blocks->segments);
  p.counts = args.lists.counts.data<int32_t>();
  p.blocks = args.lists.blocks.data<int32_t>();
  p.order = order;
  p.work_counter = counter;
  p.rows_together = rows_together;
  if (!(p.scale_log2 > 0)) fail("sparse attention: scale {} is not positive", args.scale);
  order_lists(p, static_cast<int32_t>(args.blocks->segments.host.size()), order, rows_together, stream);
  if (choice.hopper && sparse_hopper_supports(head_dim, p.block_size))
    return sparse_attention_hopper(p, head_dim, choice.sm_count, stream);
  sparse_attention_portable(p, head_dim, stream);
}

}  // namespace seer::cuda
