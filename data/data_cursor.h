// Where a run is in its data: a few integers and the tokens held over, enough to continue exactly.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace seer {

/// Totals since the start of the run, over all epochs.
struct DataStats {
  int64_t documents = 0;        ///< Documents read (bad lines are not documents).
  int64_t tokens = 0;           ///< Their tokens, BOS and separators included.
  int64_t bad_lines = 0;        ///< Lines skipped because they could not be used.
  int64_t cut_documents = 0;    ///< Packed: documents longer than the sequence length.
  int64_t short_documents = 0;  ///< Packed: documents dropped for having too few tokens.
  int64_t dropped_tokens = 0;   ///< Tokens in no sequence: cut, dropped, or in the tail of an epoch (joined).

  bool operator==(const DataStats&) const = default;
};

/// A place in the corpus from which the stream of sequences can be made again: the start of a record (a line,
/// a text file, a row or piece of a row of ids) and what was held over there from the records before.
struct RestartPoint {
  int64_t epoch = 0;
  int64_t file = 0;            ///< Index in the epoch's file order.
  int64_t record = 0;          ///< Records of that file before this place.
  int64_t first_sequence = 0;  ///< Sequences (before shuffling) completed before this place, over all epochs.
  int64_t epoch_bad_lines = 0;
  std::vector<int32_t> carry;             ///< Fewer than S tokens of the sequence that was being filled.
  std::vector<int64_t> carry_boundaries;  ///< Packed: ends of the documents in `carry`.
  DataStats stats;                        ///< Totals at this place.

  bool operator==(const RestartPoint&) const = default;
};

/// What a checkpoint stores of the data pipeline. A loader built from it hands out exactly the sequences that
/// the interrupted one would have handed out next, on any number of ranks and threads.
struct DataCursor {
  std::string fingerprint;  ///< The options and files that decide the order, in readable form.
  int64_t next_sequence =
      0;  ///< Global number of the next sequence; its shuffle block starts at or after `restart`.
  RestartPoint restart;
  DataStats stats;  ///< Totals of the text read for the sequences handed out.

  bool operator==(const DataCursor&) const = default;
};

/// JSON text on one line.
std::string to_json(const DataCursor& cursor);

/// Reads to_json's text; throws an Error that names the key for anything else.
DataCursor data_cursor_from_json(std::string_view json);

}  // namespace seer
