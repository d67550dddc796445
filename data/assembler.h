// From tokenized records, in order, to shuffled blocks of numbered sequences.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/data_cursor.h"
#include "data/loader_options.h"
#include "data/packer.h"
#include "data/record_group.h"
#include "data/shuffle_buffer.h"

namespace seer {

/// The sequences of one shuffle block and what the cursors within it need.
struct SequenceBlock {
  std::vector<TokenSequence> sequences;
  std::shared_ptr<const RestartPoint> restart;        ///< The block can be made again from here,
  std::shared_ptr<const RestartPoint> restart_after;  ///< the one after it from here.
  DataStats stats;                                    ///< Totals when the block was complete.
};

/// Counts bad lines against the budget, packs documents, shuffles, and remembers where to restart. Everything
/// that depends on the order of the corpus happens here, on one thread. Not thread-safe.
class Assembler {
 public:
  using Emit = std::function<void(SequenceBlock&&)>;

  /// Expects the records that follow `cursor.restart`; blocks before that of cursor.next_sequence are not
  /// emitted.
  Assembler(const LoaderOptions& options, const DataCursor& cursor, Emit emit);

  /// Throws the group's own error, an Error naming file and line when there are too many bad lines, and one
  /// with the totals when an epoch ends without a sequence.
  void add(const RecordGroup& group);

  /// After the last epoch: emits what the shuffle buffer holds and returns the totals.
  DataStats finish();

 private:
  void report(const RecordGroup& group, const EncodedRecord& record);
  void end_epoch();
  void collect(TokenSequence&& sequence);
  void emit_block();

  const LoaderOptions& options_;
  Emit emit_;
  Packer packer_;
  ShuffleBuffer buffer_;
  DataStats stats_;
  int64_t epoch_ = 0;
  int64_t epoch_bad_lines_;
  int64_t reported_bad_lines_;     // those of the interrupted run are not logged again
  int64_t completed_;              // sequences made so far
  int64_t first_wanted_;           // earlier ones are only made to get past them
  int64_t epoch_first_sequence_;   // -1: the epoch began before the restart
  int64_t block_first_ = 0;        // of the block in buffer_
  bool restart_is_stale_ = false;  // a sequence was completed after restart_
  std::shared_ptr<const RestartPoint> restart_;
  std::shared_ptr<const RestartPoint> block_restart_;
};

}  // namespace seer
