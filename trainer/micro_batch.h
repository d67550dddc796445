// One packed sequence on the device: ids, and the layouts every operation of the sweep needs.
#pragma once

#include <vector>

#include "data/token_sequence.h"
#include "src/ops/layout_tables.h"

namespace seer {

/// Fixed memory for packs of at most `capacity` tokens, refilled every step.
class MicroBatch {
 public:
  /// `block_sizes`: the distinct block sizes of the gates, ascending.
  MicroBatch(Backend& backend, int64_t capacity, const std::vector<int64_t>& block_sizes);

  /// Takes over a new pack. The queue must have finished with the one before; ids and tables are uploaded on it.
  void assign(Backend& backend, Queue& queue, const TokenSequence& sequence);

  /// Whether the pack taken over last is this one.
  bool holds(const TokenSequence& sequence) const;

  /// Layouts that bound every pack of at most `capacity` tokens and have no segments: for planning memory.
  void assign_worst_case();

  size_t device_bytes() const { return ids_.bytes() + tables_.device_bytes(); }

  int64_t tokens() const { return layout_.num_query_rows; }
  ConstTensor ids() const { return ids_.tensor(DType::kI32, Shape{tokens()}); }  ///< [S] I32
  const BatchLayout& layout() const { return layout_; }
  const ScoreLayout& blocks(int64_t block_size) const;
  const ScoreLayout& finest() const { return blocks_.front(); }

 private:
  int64_t capacity_;
  Buffer host_ids_;
  std::vector<int64_t> boundaries_;
  Buffer ids_;
  LayoutTables tables_;
  BatchLayout layout_;
  std::vector<ScoreLayout> blocks_;
};

}  // namespace seer
