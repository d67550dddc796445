#include "data/assembler.h"

#include <utility>

#include "src/core/error.h"
#include "src/core/log.h"

namespace seer {
namespace {

constexpr int64_t kBadLinesInFull = 10;

}  // namespace

Assembler::Assembler(const LoaderOptions& options, const DataCursor& cursor, Emit emit)
    : options_(options),
      emit_(std::move(emit)),
      packer_(options.layout, options.sequence_length, options.min_document_tokens,
              [this](TokenSequence&& sequence) { collect(std::move(sequence)); }),
      buffer_(options.shuffle, options.shuffle_buffer, options.seed),
      stats_(cursor.restart.stats),
      epoch_(cursor.restart.epoch),
      epoch_bad_lines_(cursor.restart.epoch_bad_lines),
      reported_bad_lines_(cursor.stats.bad_lines),
      completed_(cursor.restart.first_sequence),
      first_wanted_(buffer_.block_start(cursor.next_sequence)),
      epoch_first_sequence_(cursor.restart.file == 0 && cursor.restart.record == 0 ? completed_ : -1),
      restart_(std::make_shared<RestartPoint>(cursor.restart)) {
  packer_.restore(cursor.restart.carry, cursor.restart.carry_boundaries);
}

void Assembler::add(const RecordGroup& group) {
  epoch_ = group.epoch;
  for (size_t i = 0; i < group.encoded.size(); ++i) {
    const EncodedRecord& record = group.encoded[i];
    // Not at every record: the carry is copied, so that once a sequence is often enough.
    if (restart_is_stale_ && (record.begins_document || options_.layout == DataLayout::kJoined)) {
      restart_ =
          std::make_shared<RestartPoint>(RestartPoint{.epoch = group.epoch,
                                                      .file = group.place,
                                                      .record = group.first_record + static_cast<int64_t>(i),
                                                      .first_sequence = completed_,
                                                      .epoch_bad_lines = epoch_bad_lines_,
                                                      .carry = packer_.carry(),
                                                      .carry_boundaries = packer_.carry_boundaries(),
                                                      .stats = stats_});
      restart_is_stale_ = false;
    }
    if (!record.problem.empty()) {
      report(group, record);
      continue;
    }
    stats_.documents += record.begins_document ? 1 : 0;
    stats_.tokens += static_cast<int64_t>(record.ids.size());
    packer_.add(record.ids, record.begins_document, record.ends_document, stats_);
  }
  if (group.error != nullptr) std::rethrow_exception(group.error);
  if (group.ends_epoch) end_epoch();
}

void Assembler::report(const RecordGroup& group, const EncodedRecord& record) {
  ++stats_.bad_lines;
  ++epoch_bad_lines_;
  const std::string file = group.file->path.string();
  if (epoch_bad_lines_ > options_.max_bad_lines) {
    fail("{}:{}: {} ({} bad line(s) in this epoch, data.max_bad_lines is {})", file, record.line,
         record.problem, epoch_bad_lines_, options_.max_bad_lines);
  }
  if (stats_.bad_lines <= reported_bad_lines_ || stats_.bad_lines > kBadLinesInFull) return;
  log::warn("data: {}:{}: line skipped: {}{}", file, record.line, record.problem,
            stats_.bad_lines == kBadLinesInFull ? " (more are counted without a line each)" : "");
}

void Assembler::end_epoch() {
  packer_.end_epoch(stats_);
  if (epoch_bad_lines_ > 0 && stats_.bad_lines > reported_bad_lines_)
    log::warn("data: epoch {}: {} bad line(s) skipped", epoch_, epoch_bad_lines_);
  if (completed_ == epoch_first_sequence_) {
    fail(
        "data: epoch {} gave no sequence of {} tokens: the corpus holds {} document(s) with {} token(s), {} "
        "of them dropped as shorter than {} token(s), and {} bad line(s); give more text or lower "
        "data.sequence_length",
        epoch_, options_.sequence_length, stats_.documents, stats_.tokens, stats_.short_documents,
        options_.min_document_tokens, stats_.bad_lines);
  }
  epoch_first_sequence_ = completed_;
  epoch_bad_lines_ = 0;
}

void Assembler::collect(TokenSequence&& sequence) {
  const int64_t number = completed_++;
  restart_is_stale_ = true;
  if (number < first_wanted_) return;
  if (buffer_.empty()) {
    block_first_ = number;
    block_restart_ = restart_;
  }
  sequence.epoch = epoch_;
  buffer_.add(std::move(sequence));
  if (buffer_.full()) emit_block();
}

void Assembler::emit_block() {
  emit_(SequenceBlock{buffer_.take(block_first_), std::exchange(block_restart_, nullptr), restart_, stats_});
}

DataStats Assembler::finish() {
  if (!buffer_.empty()) emit_block();
  return stats_;
}

}  // namespace seer
