// Where the sequences of a packed batch lie: which rows are queries, which keys they see, which rows count in
// the loss.
//
// A batch is a pack of sequences with boundaries and no padding. Query rows come in segments, so that one
// description serves a whole sequence (one segment), a chunk of a long one, and the two chunks a rank owns
// under context parallelism.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/core/tensor.h"

namespace seer {

/// Consecutive rows of a buffer that hold consecutive positions of one sequence, counted from `position`.
struct RowSpan {
  int64_t row;
  int64_t rows;
  int64_t position;
};

/// Query rows and the keys of their sequence.
struct Segment {
  RowSpan queries;   ///< In tokens.
  int64_t key_row;   ///< First row of the sequence's keys in k and v.
  int64_t length;    ///< Tokens in the whole sequence: keys at positions 0 .. length-1.
  int64_t sequence;  ///< Its number in the batch.
};

/// A host list and, where a backend has memory of its own, the same bytes there, uploaded once per batch.
template <typename T>
struct Table {
  std::vector<T> host;
  ConstTensor device;  ///< U8 [host.size() * sizeof(T)]; empty until uploaded.

  std::span<const T> span() const { return host; }
};

/// The pack itself. Passed to operations by reference: it must stay unchanged until the queue has run them.
struct BatchLayout {
  Table<Segment> segments;
  Table<RowSpan> rows;  ///< segments[i].queries, for operations that need positions alone.
  /// The same for the keys that are projected here: those of whole sequences, or where sequences are spread over ranks,
  /// those of this rank's queries.
  Table<RowSpan> key_rows;
  int64_t sequences = 0;
  int64_t num_query_rows = 0;
  int64_t num_key_rows = 0;  ///< Of k and v as attention reads them: whole sequences.

  /// Whole sequences: `cu_seqlens` holds 0, the end of the first sequence, ..., the number of tokens.
  static BatchLayout packed(std::span<const int64_t> cu_seqlens);
  /// Refills *this in place, without allocating once the vectors have grown.
  void assign_packed(std::span<const int64_t> cu_seqlens);
  /// One sequence of `length` tokens spread over ranks (src/ops/sequence_gather.h): the query rows are chunks `rank` and
  /// 2 * ranks - 1 - rank of 2 * ranks, the keys all of it. `length` must be a multiple of 2 * ranks.
  void assign_share(int64_t length, int rank, int ranks);
};

/// One matrix [heads, rows, blocks] of gate scores, targets or block maxima. It begins at element `matrix *
/// heads` of its buffer, heads being the number of heads the buffer holds.
struct ScoreSegment {
  RowSpan queries;  ///< Rows of the score matrix; position in blocks (prefill) or tokens (decode).
  int64_t key_row;  ///< First pooled key of the sequence.
  int64_t blocks;   ///< N of the sequence: columns.
  int64_t sequence;
  int64_t matrix;          ///< Elements per head in the matrices before this one.
  int64_t first_loss_row;  ///< Rows at positions before it do not count in the loss.
  int64_t loss_rows;       ///< Rows of the WHOLE sequence that count.
  int64_t loss_columns;    ///< Columns the loss is averaged over: N, or for decode the pack's largest N.
};

enum class ScoreKind {
  kPrefill,  ///< A row is a block i of queries and sees blocks j <= i (SEMANTICS 2 to 4).
  kDecode,   ///< A row is a token and sees the blocks strictly before its own (SEMANTICS 8).
};

/// The block grid of a batch for one block size.
struct ScoreLayout {
  ScoreKind kind = ScoreKind::kPrefill;
  int64_t block_size = 0;
  Table<ScoreSegment> segments;
  Table<RowSpan> query_rows;  ///< Rows of pooled (prefill) or plain (decode) queries, with their positions.
  Table<RowSpan> key_rows;    ///< Rows of pooled keys, position = block number.
  int64_t sequences = 0;
  int64_t num_query_rows = 0;
  int64_t num_key_rows = 0;
  int64_t elements = 0;    ///< Of all matrices, per head.
  int64_t max_blocks = 0;  ///< The largest N.

  /// How many blocks, counted from the first, the row at `position` sees.
  int64_t visible(int64_t position) const {
    return kind == ScoreKind::kPrefill ? position + 1 : position / block_size;
  }

  /// Rows i >= N/4 count in the loss. Segments must begin at multiples of block_size and, unless they end
  /// their sequence, hold whole blocks.
  static ScoreLayout prefill(const BatchLayout& batch, int64_t block_size);
  void assign_prefill(const BatchLayout& batch, int64_t block_size);

  /// Rows t >= trunc(length * loss_slice_ratio) count in the loss; the ratio is in [0, 1).
  static ScoreLayout decode(const BatchLayout& batch, int64_t block_size, double loss_slice_ratio);

  /// An upper bound, in every total, of the prefill layouts of all packs of at most `tokens` tokens whose
  /// sequences are at least two blocks long. Holds no segments: for planning memory.
  static ScoreLayout worst_case(int64_t tokens, int64_t block_size);
};

}  // namespace seer
