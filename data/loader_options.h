// What the data pipeline is told.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/token_sequence.h"

namespace seer {

struct LoaderOptions {
  std::vector<std::string> files;  ///< Files, folders or globs (see expand_inputs in data/file_list.h).
  DataLayout layout = DataLayout::kJoined;
  int64_t sequence_length = 65536;  ///< S
  int64_t min_document_tokens = 1;  ///< Packed: shorter documents are dropped; two blocks in training.
  std::optional<int32_t>
      separator;           ///< Token put after each document of text; ids from files are left as they are.
  int64_t vocab_size = 0;  ///< Rows of the model's embedding: ids from here on are an Error; 0: unchecked.
  std::string text_field = "text";  ///< JSONL key that holds the text; lines without it need `messages`.
  uint64_t seed = 42;
  bool shuffle = true;           ///< False: files as listed, sequences in order.
  int64_t shuffle_buffer = 256;  ///< K: each block of K sequences is permuted. Up to 2K are held in memory.
  int64_t max_bad_lines = 0;     ///< Bad lines skipped in one epoch; one more is an Error.
  int64_t max_document_bytes = int64_t{1} << 30;  ///< Longer lines and text files count as bad lines.
  int64_t max_epochs = 0;                         ///< 0: the epochs go on for ever.
  int64_t tokenizer_threads = 1;
  int64_t prefetch = 4;    ///< Sequences kept ready.
  int64_t batch_size = 1;  ///< B: sequences of all ranks in one step; a multiple of `world`.
  int64_t rank = 0;
  int64_t world = 1;
};

}  // namespace seer
