// From documents of token ids to sequences of the length that is trained on.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/data_cursor.h"
#include "data/token_sequence.h"

namespace seer {

/// Joins or packs documents (DataLayout) and hands each sequence to `sink` as soon as it is complete; the
/// sequences carry no number yet. Packing is next-fit: a document that does not fit into the open pack closes
/// it. Not thread-safe.
class Packer {
 public:
  using Sink = std::function<void(TokenSequence&&)>;

  /// `min_document_tokens` is for the packed layout, where a document without tokens is always dropped.
  Packer(DataLayout layout, int64_t sequence_length, int64_t min_document_tokens, Sink sink);

  /// The next piece of the current document. Counts cut and dropped documents and tokens in `stats`.
  void add(std::span<const int32_t> ids, bool begins_document, bool ends_document, DataStats& stats);

  /// The end of an epoch: the open pack is handed over, the tail of joined text dropped.
  void end_epoch(DataStats& stats);

  /// Tokens held over, fewer than the sequence length, and where their documents end (packed). Between
  /// documents this is the whole state; joined text may also be interrupted within one.
  const std::vector<int32_t>& carry() const { return ids_; }
  const std::vector<int64_t>& carry_boundaries() const { return ends_; }
  void restore(std::vector<int32_t> carry, std::vector<int64_t> boundaries);

 private:
  void join(std::span<const int32_t> ids);
  void pack(std::span<const int32_t> document);
  void complete();

  DataLayout layout_;
  int64_t sequence_length_;
  int64_t min_document_tokens_;
  Sink sink_;
  std::vector<int32_t> ids_;       // of the open sequence
  std::vector<int64_t> ends_;      // packed: ends of its documents
  std::vector<int32_t> document_;  // packed: first tokens of a document that comes in pieces
  int64_t document_tokens_ = 0;    // packed: its tokens so far
};

}  // namespace seer
