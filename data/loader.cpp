#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "data/assembler.h"
#include "data/corpus_reader.h"
#include "data/fingerprint.h"
#include "data/work_window.h"
#include "src/core/error.h"

namespace seer {
namespace {

// Beyond one group for every worker these bound what waits for a worker or for the assembler.
constexpr size_t kGroupsAhead = 4;
constexpr size_t kBytesAhead = size_t{256} << 20;

void check_options(const LoaderOptions& options) {
  SEER_CHECK(options.sequence_length > 0, "sequence_length {}", options.sequence_length);
  SEER_CHECK(options.shuffle_buffer > 0, "shuffle_buffer {}", options.shuffle_buffer);
  SEER_CHECK(options.tokenizer_threads > 0, "tokenizer_threads {}", options.tokenizer_threads);
  SEER_CHECK(options.max_document_bytes > 0, "max_document_bytes {}", options.max_document_bytes);
  SEER_CHECK(options.batch_size > 0, "batch_size {}", options.batch_size);
  SEER_CHECK(options.world > 0 && options.rank >= 0 && options.rank < options.world, "rank {} of {}",
             options.rank, options.world);
  if (options.batch_size % options.world != 0)
    fail_usage("train.batch_size is {}, which {} ranks cannot share equally", options.batch_size,
               options.world);
}

void check_encoder(const TokenEncoder* encoder, const std::vector<DataFile>& files) {
  if (encoder != nullptr) return;
  for (const DataFile& file : files) {
    if (file.format == DataFormat::kJsonLines || file.format == DataFormat::kText)
      fail("{}: text cannot be read without a tokenizer", file.path.string());
  }
}

void check_cursor(const LoaderOptions& options, const DataCursor& cursor, size_t files) {
  const RestartPoint& restart = cursor.restart;
  const ShuffleBuffer blocks(options.shuffle, options.shuffle_buffer, options.seed);
  const std::vector<int64_t>& ends = restart.carry_boundaries;
  const auto carried = static_cast<int64_t>(restart.carry.size());
  const bool packed = options.layout == DataLayout::kPacked;
  const bool ends_fit =
      packed ? (ends.empty() ? 0 : ends.back()) == carried &&
                   std::adjacent_find(ends.begin(), ends.end(), std::greater_equal<>()) == ends.end()
             : ends.empty();
  if (restart.file < 0 || restart.file >= static_cast<int64_t>(files) || restart.epoch < 0 ||
      restart.record < 0 || restart.first_sequence < 0 || carried >= options.sequence_length || !ends_fit ||
      restart.first_sequence > blocks.block_start(cursor.next_sequence))
    fail("data cursor: its parts contradict one another: the checkpoint is damaged");
  if (options.world > 1 && cursor.next_sequence % options.batch_size != 0)
    fail("data cursor: it stands inside a step (sequence {}, {} a step), which {} ranks cannot continue",
         cursor.next_sequence, options.batch_size, options.world);
}

}  // namespace

class Loader::Pipeline {
 public:
  Pipeline(const LoaderOptions& options, std::shared_ptr<const TokenEncoder> encoder,
           const std::optional<DataCursor>& cursor)
      : options_(options),
        encoder_(std::move(encoder)),
        window_(static_cast<size_t>(options.tokenizer_threads) + kGroupsAhead, kBytesAhead) {
    check_options(options_);
    files_ = expand_inputs(options_.files);
    check_encoder(encoder_.get(), files_);
    const std::string fingerprint = data_fingerprint(options_, encoder_.get(), files_);
    if (cursor) {
      check_fingerprint(cursor->fingerprint, fingerprint);
      check_cursor(options_, *cursor, files_.size());
      start_ = *cursor;
    }
    start_.fingerprint = fingerprint;
    position_ = start_.next_sequence;
    restart_ = std::make_shared<RestartPoint>(start_.restart);
    stats_ = start_.stats;
  }

  ~Pipeline() {
    stop(nullptr);
    for (std::thread& thread : threads_) thread.join();
  }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  void start() {
    threads_.reserve(static_cast<size_t>(options_.tokenizer_threads) + 2);
    threads_.emplace_back([this] { guarded([this] { read(); }); });
    for (int64_t i = 0; i < options_.tokenizer_threads; ++i)
      threads_.emplace_back([this] { guarded([this] { encode(); }); });
    threads_.emplace_back([this] { guarded([this] { assemble(); }); });
  }

  std::optional<TokenSequence> next() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [&] { return !ready_.empty() || ended_ || error_ != nullptr; });
    if (ready_.empty()) {
      if (error_ != nullptr) std::rethrow_exception(error_);
      stats_ = final_stats_;
      return std::nullopt;
    }
    Ready item = std::move(ready_.front());
    ready_.pop_front();
    drained_.notify_one();
    lock.unlock();

    const int64_t after = item.sequence.number + 1;
    position_ = after == share_end(item.sequence.number) ? step_end(item.sequence.number) : after;
    restart_ = std::move(item.restart);
    stats_ = *item.stats;
    return std::move(item.sequence);
  }

  std::vector<TokenSequence> next_step() {
    std::vector<TokenSequence> share;
    const int64_t end = share_end(position_);
    while (position_ < end) {
      auto sequence = next();
      if (!sequence) break;
      share.push_back(std::move(*sequence));
    }
    return share;
  }

  DataCursor cursor() const { return {start_.fingerprint, position_, *restart_, stats_}; }
  DataStats stats() const { return stats_; }

 private:
  struct Ready {
    TokenSequence sequence;
    std::shared_ptr<const RestartPoint> restart;  // for the cursor after this sequence
    std::shared_ptr<const DataStats> stats;
  };

  int64_t step_begin(int64_t number) const { return number / options_.batch_size * options_.batch_size; }
  int64_t step_end(int64_t number) const { return step_begin(number) + options_.batch_size; }
  int64_t share() const { return options_.batch_size / options_.world; }
  int64_t share_end(int64_t number) const { return step_begin(number) + (options_.rank + 1) * share(); }

  bool wanted(int64_t number) const {
    return number >= start_.next_sequence && number < share_end(number) &&
           number >= share_end(number) - share();
  }

  void read() {
    try {
      read_corpus(options_, files_, start_.restart, [this](std::unique_ptr<RecordGroup> group) {
        const size_t weight = group->weight();
        return window_.push(std::move(group), weight);
      });
    } catch (...) {
      // It takes its turn behind the records that were read before it.
      auto group = std::make_unique<RecordGroup>();
      group->error = std::current_exception();
      window_.push(std::move(group), 0);
    }
    window_.close();
  }

  void encode() {
    while (RecordGroup* group = window_.claim()) {
      if (group->error == nullptr) encode_group(options_, encoder_.get(), *group);
      window_.finish(group);
    }
  }

  void assemble() {
    Assembler assembler(options_, start_, [this](SequenceBlock&& block) { hand_over(std::move(block)); });
    while (const auto group = window_.pop()) assembler.add(*group);
    const DataStats totals = assembler.finish();
    const std::lock_guard lock(mutex_);
    final_stats_ = totals;
    ended_ = true;
    filled_.notify_all();
  }

  /// Waits until fewer than `prefetch` sequences are ready, then adds the whole block, so that the next one
  /// is put together while this one is handed out.
  void hand_over(SequenceBlock&& block) {
    const auto enough = static_cast<size_t>(std::max<int64_t>(options_.prefetch, 1));
    const auto stats = std::make_shared<const DataStats>(block.stats);
    std::unique_lock lock(mutex_);
    drained_.wait(lock, [&] { return stopping_ || ready_.size() < enough; });
    if (stopping_) return;
    for (TokenSequence& sequence : block.sequences) {
      if (!wanted(sequence.number)) continue;
      const bool last = &sequence == &block.sequences.back();
      ready_.push_back({std::move(sequence), last ? block.restart_after : block.restart, stats});
    }
    filled_.notify_all();
  }

  template <typename Body>
  void guarded(const Body& body) {
    try {
      body();
    } catch (...) {
      stop(std::current_exception());
    }
  }

  void stop(const std::exception_ptr& error) {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      if (error_ == nullptr) error_ = error;
      drained_.notify_all();
      filled_.notify_all();
    }
    window_.stop();
  }

  const LoaderOptions options_;
  const std::shared_ptr<const TokenEncoder> encoder_;
  std::vector<DataFile> files_;
  DataCursor start_;

  // The caller's side.
  int64_t position_ = 0;
  std::shared_ptr<const RestartPoint> restart_;
  DataStats stats_;

  WorkWindow<RecordGroup> window_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable drained_;
  std::deque<Ready> ready_;  // all below guarded by mutex_
  DataStats final_stats_;
  bool ended_ = false;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

Loader::Loader(const LoaderOptions& options, std::shared_ptr<const TokenEncoder> encoder,
               const std::optional<DataCursor>& cursor)
    : pipeline_(std::make_unique<Pipeline>(options, std::move(encoder), cursor)) {
  pipeline_->start();
}

Loader::~Loader() = default;

std::optional<TokenSequence> Loader::next() {
  return pipeline_->next();
}
std::vector<TokenSequence> Loader::next_step() {
  return pipeline_->next_step();
}
DataCursor Loader::cursor() const {
  return pipeline_->cursor();
}
DataStats Loader::stats() const {
  return pipeline_->stats();
}

}  // namespace seer
