#include "tests/ops/packs.h"

namespace seer::test {

Pack whole(std::initializer_list<int64_t> lengths) {
  Pack pack;
  for (const int64_t length : lengths) pack.push_back({length, {{0, length}}});
  return pack;
}

int64_t query_tokens(const Pack& pack) {
  int64_t total = 0;
  for (const PackedSequence& sequence : pack) {
    for (const Chunk& chunk : sequence.chunks) total += chunk.rows;
  }
  return total;
}

int64_t key_tokens(const Pack& pack) {
  int64_t total = 0;
  for (const PackedSequence& sequence : pack) total += sequence.length;
  return total;
}

BatchLayout layout_of(const Pack& pack) {
  BatchLayout layout;
  for (const PackedSequence& sequence : pack) {
    for (const Chunk& chunk : sequence.chunks) {
      const RowSpan span{layout.num_query_rows, chunk.rows, chunk.position};
      layout.segments.host.push_back({span, layout.num_key_rows, sequence.length, layout.sequences});
      layout.rows.host.push_back(span);
      layout.num_query_rows += chunk.rows;
    }
    layout.key_rows.host.push_back({layout.num_key_rows, sequence.length, 0});
    layout.num_key_rows += sequence.length;
    ++layout.sequences;
  }
  return layout;
}

std::vector<Matrix> matrices_of(const Pack& pack, ScoreKind kind, int64_t block) {
  std::vector<Matrix> out;
  const int64_t unit = kind == ScoreKind::kPrefill ? block : 1;
  int64_t query_row = 0;
  int64_t key_row = 0;
  int64_t before = 0;
  int64_t token_row = 0;
  int64_t key_token = 0;
  for (size_t s = 0; s < pack.size(); ++s) {
    const int64_t blocks = ceil_div(pack[s].length, block);
    for (const Chunk& chunk : pack[s].chunks) {
      const int64_t rows = ceil_div(chunk.rows, unit);
      out.push_back({static_cast<int64_t>(s), pack[s].length, blocks, rows, chunk.position / unit, query_row,
                     key_row, before, token_row, key_token});
      query_row += rows;
      before += rows * blocks;
      token_row += chunk.rows;
    }
    key_row += blocks;
    key_token += pack[s].length;
  }
  return out;
}

int64_t elements_of(const std::vector<Matrix>& matrices) {
  const Matrix& last = matrices.back();
  return last.before + last.rows * last.blocks;
}

int64_t seen_blocks(ScoreKind kind, int64_t position, int64_t block) {
  return kind == ScoreKind::kPrefill ? position + 1 : position / block;
}

}  // namespace seer::test
