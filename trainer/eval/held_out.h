// The held-out text of evaluation commands, cut into windows.
#pragma once

#include <string>
#include <vector>

#include "trainer/eval/eval_model.h"

namespace seer {

struct HeldOutFlags {
  std::vector<std::string> data;  ///< Files, folders or globs
  std::string text_field = "text";
  int64_t windows = 1;    ///< Of each document
  int64_t documents = 0;  ///< The first ones alone; 0: all
  bool keep_document_bos = false;
};

/// Tokens of a window where no flag says: 8192, or the most that the model takes.
int64_t default_length(const ModelConfig& model);

/// The ids of every document.
std::vector<std::vector<int32_t>> held_out_documents(const HeldOutFlags& flags, const EvalModel& model);

/// One sequence of `length` tokens with the tokenizer's BOS in front: the first document, the next ones behind it, without
/// theirs, where it is too short. Reads no more than it takes. `tokenizer` is the model's, or null. An Error if all documents
/// together are too short.
std::vector<int32_t> held_out_sequence(const HeldOutFlags& flags, const ModelConfig& model,
                                       const std::shared_ptr<const Tokenizer>& tokenizer, int64_t length);

/// Their windows of `length` tokens, with the tokenizer's BOS in front; an Error if no document is that long.
std::vector<std::vector<int32_t>> held_out_windows(const HeldOutFlags& flags, const EvalModel& model,
                                                   const std::vector<std::vector<int32_t>>& documents,
                                                   int64_t length);

}  // namespace seer
