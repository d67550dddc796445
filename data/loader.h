// From files to batches of token sequences: streaming, prefetching, resumable, sliced by rank.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "data/data_cursor.h"
#include "data/loader_options.h"
#include "data/token_encoder.h"
#include "data/token_sequence.h"

namespace seer {

/// Order: the files of each epoch in an order drawn from Rng(seed).fork("files").fork(epoch); their documents
/// made into sequences by the layout; sequence u of that stream belongs to block u / K, and the sequences of
/// block b are permuted by Rng(seed).fork("block").fork(b), so that the whole state of the shuffle is one
/// integer. An epoch ends with its own tail (joined: dropped; packed: a pack that is not full), blocks run on
/// across epochs. The order depends on the options and the files alone, never on the number of threads.
///
/// A reader thread, `tokenizer_threads` workers and an assembler run ahead by a bounded amount, whatever the
/// size of the corpus. What fails in one of them (a truncated file, too many bad lines, an epoch without a
/// single sequence) is thrown by next() and next_step() after the sequences before it have been handed out,
/// and again by each later call. One thread may use a Loader at a time; its destructor stops and joins the
/// threads at any moment.
class Loader {
 public:
  /// Lists the files and starts the threads. With a cursor, continues after the sequences handed out when it
  /// was taken; throws an Error if it belongs to other files or options. `encoder` may be null if all files
  /// hold ids.
  Loader(const LoaderOptions& options, std::shared_ptr<const TokenEncoder> encoder,
         const std::optional<DataCursor>& cursor = std::nullopt);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next sequence of this rank; nothing after the last of `max_epochs`.
  std::optional<TokenSequence> next();

  /// What is left of this rank's share of the current global step: of step t, the sequences numbered
  /// [t*B + rank*B/world, t*B + (rank+1)*B/world). Shorter or empty only at the end of `max_epochs`.
  std::vector<TokenSequence> next_step();

  /// The cursor after the sequences handed out so far, untouched by what has been prefetched. After a whole
  /// share of a step it stands at the next step, so that the cursor of any rank serves all ranks.
  DataCursor cursor() const;

  /// Totals of the text read for the sequences handed out (to the end of their shuffle block).
  DataStats stats() const;

 private:
  class Pipeline;
  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace seer
