// Packs of sequences for op tests, and the matrices of scores they give, derived here a second time and
// independently of src/ops/layout.cpp.
#pragma once

#include <initializer_list>
#include <vector>

#include "src/core/ceil_div.h"
#include "src/ops/layout.h"

namespace seer::test {

/// Consecutive query tokens of a sequence.
struct Chunk {
  int64_t position;
  int64_t rows;
};

struct PackedSequence {
  int64_t length;
  std::vector<Chunk> chunks;
};
using Pack = std::vector<PackedSequence>;

/// Sequences whose tokens are all queries.
Pack whole(std::initializer_list<int64_t> lengths);

/// Query rows chunk after chunk, keys of whole sequences one after the other.
BatchLayout layout_of(const Pack& pack);

int64_t query_tokens(const Pack& pack);
int64_t key_tokens(const Pack& pack);

/// One matrix of scores: the rows of one chunk.
struct Matrix {
  int64_t sequence;
  int64_t length;     ///< Tokens of the sequence
  int64_t blocks;     ///< N
  int64_t rows;       ///< Query blocks (prefill) or tokens (decode)
  int64_t position;   ///< Of the first row, in the same unit
  int64_t query_row;  ///< Its first row among all query rows
  int64_t key_row;    ///< Of the sequence's first pooled key
  int64_t before;     ///< Elements per head of the matrices before it
  int64_t token_row;  ///< First query token
  int64_t key_token;  ///< First key token of the sequence

  int64_t offset(int64_t heads, int64_t head, int64_t row) const {
    return before * heads + (head * rows + row) * blocks;
  }
};

std::vector<Matrix> matrices_of(const Pack& pack, ScoreKind kind, int64_t block);
int64_t elements_of(const std::vector<Matrix>& matrices);
/// How many blocks a row sees.
int64_t seen_blocks(ScoreKind kind, int64_t position, int64_t block);

}  // namespace seer::test
