// Causal attention over the kept key blocks alone (SEMANTICS 7): skipped, not masked. One task computes one query block
// of one head.
#include "src/cpu/kernels.h"
#include "src/cpu/query_tile.h"

namespace seer::cpu {
namespace {

AttentionArgs dense_args(const SparseAttentionArgs& a) {
  return {.q = a.q,
          .k = a.k,
          .v = a.v,
          .layout = a.layout,
          .head_begin = a.head_begin,
          .head_count = a.head_count,
          .scale = a.scale,
          .output = a.output};
}

}  // namespace

size_t sparse_attention_workspace(const ThreadPool& pool, const SparseAttentionArgs& args) {
  return pool.size() * QueryTile::scratch_floats(dense_args(args)) * sizeof(float);
}

void sparse_attention(ThreadPool& pool, const SparseAttentionArgs& a) {
  const AttentionArgs dense = dense_args(a);
  const int64_t floats = QueryTile::scratch_floats(dense);
  for (size_t number = 0; number < a.blocks->segments.host.size(); ++number) {
    const ScoreSegment& segment = a.blocks->segments.host[number];
    const int64_t rows = segment.queries.rows;
    pool.run(a.head_count * rows, [&](int64_t task, int worker) {
      const FlushDenormals flush;
      const int64_t row =
          rows - 1 - task / a.head_count;  // later rows keep more; heads together share k and v in cache
      const int64_t head = task % a.head_count;
      const int32_t* list = a.lists.blocks.data<int32_t>() + segment.matrix * a.head_count +
                            (head * rows + row) * segment.blocks;
      const int32_t count =
          a.lists.counts.data<int32_t>()[head * a.blocks->num_query_rows + segment.queries.row + row];
      float* scratch = static_cast<float*>(a.workspace.raw()) + worker * floats;
      QueryTile(dense, static_cast<int64_t>(number), a.head_begin + head, row * a.blocks->block_size,
                a.blocks->block_size, scratch)
          .run(list, count, a.blocks->block_size);
    });
  }
}

}  // namespace seer::cpu
