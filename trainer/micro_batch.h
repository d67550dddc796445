// One packed sequence on the device, or this rank's share of one: ids, and the layouts every operation of the sweep
// needs.
#pragma once

#include <vector>

#include "data/token_sequence.h"
#include "src/ops/layout_tables.h"
#include "trainer/ranks.h"

namespace seer {

/// What all micro-batches of a session have in common.
struct BatchShape {
  int64_t max_tokens = 0;            ///< Of a sequence or pack, whole
  std::vector<int64_t> block_sizes;  ///< Of the gates, distinct, ascending
  RankPlace place;

  /// Of `max_tokens`, those that are computed here.
  int64_t capacity() const { return max_tokens / place.context; }
};

/// Fixed memory for packs of at most `max_tokens` tokens, refilled every step. Where sequences are spread over ranks,
/// packs hold one sequence whose length is a multiple of 2 * context times the largest block size.
class MicroBatch {
 public:
  MicroBatch(Backend& backend, const BatchShape& shape);

  /// Takes over a new pack. The queue must have finished with the one before; ids and tables are uploaded on it.
  void assign(Backend& backend, Queue& queue, const TokenSequence& sequence);

  /// Whether the pack taken over last is this one.
  bool holds(const TokenSequence& sequence) const;

  /// Layouts that bound every pack of at most `max_tokens` tokens and have no segments: for planning memory.
  void assign_worst_case();

  size_t device_bytes() const { return ids_.bytes() + tables_.device_bytes(); }

  /// Rows computed here.
  int64_t tokens() const { return layout_.num_query_rows; }
  ConstTensor ids() const { return ids_.tensor(DType::kI32, Shape{tokens()}); }  ///< [S] I32
  const BatchLayout& layout() const { return layout_; }
  const ScoreLayout& blocks(int64_t block_size) const;
  const ScoreLayout& finest() const { return blocks_.front(); }

 private:
  /// Calls body(row, ids) for every run of rows here: where they begin, and what `sequence` holds for them.
  template <typename Body>
  void for_each_run(const TokenSequence& sequence, const Body& body) const;

  BatchShape shape_;
  Buffer host_ids_;
  std::vector<int64_t> boundaries_;
  Buffer ids_;
  LayoutTables tables_;
  BatchLayout layout_;
  std::vector<ScoreLayout> blocks_;
};

}  // namespace seer
