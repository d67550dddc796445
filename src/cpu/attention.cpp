// Causal attention with pooled ground truth (SEMANTICS 1 and 3), fp32.
//
// One task computes 128 query rows of one head against all their keys (src/cpu/query_tile.h).
//
// The block maxima of A = exp(s - lse) are only known once the row's lse = m + ln l is. Until then the maxima
// of s over each key block wait in the task's scratch, [key block][row]: it is owned by the running worker
// and bounded by 128 x N floats, never S x N for a head. exp is monotone, so the tail is one subtraction and
// one maximum per scratch entry; the exponential itself is left to normalise_target, once for each (query
// block, key block).
//
// Scratch of one worker: q tile, s tile, o tile, m/l/alpha, block maxima.
#include "src/cpu/kernels.h"
#include "src/cpu/query_tile.h"

namespace seer::cpu {

size_t attention_workspace(const ThreadPool& pool, const AttentionArgs& args) {
  return pool.size() * QueryTile::scratch_floats(args) * sizeof(float);
}

void attention(ThreadPool& pool, const AttentionArgs& args) {
  const auto& segments = args.layout->segments.host;
  int64_t tiles = 0;
  for (const Segment& segment : segments) tiles += ceil_div(segment.queries.rows, kQueryTile);
  const int64_t floats = QueryTile::scratch_floats(args);
  // Later tiles of a sequence see more keys: they go first, and a tile's heads go together, to share k and v
  // in cache.
  pool.run(tiles * args.head_count, [&](int64_t task, int worker) {
    const FlushDenormals flush;
    int64_t tile = tiles - 1 - task / args.head_count;
    int64_t segment = 0;
    while (tile >= ceil_div(segments[segment].queries.rows, kQueryTile)) {
      tile -= ceil_div(segments[segment++].queries.rows, kQueryTile);
    }
    float* scratch = static_cast<float*>(args.workspace.raw()) + worker * floats;
    QueryTile(args, segment, args.head_begin + task % args.head_count, tile * kQueryTile, kQueryTile, scratch)
        .run();
  });
}

}  // namespace seer::cpu
