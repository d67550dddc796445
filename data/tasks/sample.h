// One question of a benchmark: what the model is asked, and what counts as right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace seer {

/// How a prediction is held against the expected answers (data/tasks/scoring.h).
enum class Metric {
  kMatchAll,        ///< RULER: share of the answers that occur in the prediction.
  kMatchPart,       ///< RULER qa: whether any answer occurs.
  kQaF1,            ///< LongBench: F1 of words, best answer.
  kRougeL,          ///< LongBench summaries.
  kClassification,  ///< LongBench trec: 1 / number of class names named, if the right one is among them.
  kRetrieval,       ///< LongBench: share of the prediction's numbers that name the paragraph.
  kCount,           ///< LongBench: share of the prediction's numbers that are the answer.
  kCodeSimilarity,  ///< LongBench: edit similarity of the next line of code.
};

struct TaskSample {
  std::string task;   ///< "niah_single_1", "qasper": a name of ruler_tasks() or longbench_tasks().
  int64_t index = 0;  ///< Place within its task, from 0: with `task` it identifies the sample.
  std::string input;  ///< The prompt, chat template included, without `answer_prefix`. UTF-8.
  /// The answer's first words, put into the model's mouth: the prompt is input + answer_prefix.
  std::string answer_prefix;
  std::vector<std::string> outputs;      ///< Expected answers, at least one.
  std::vector<std::string> all_classes;  ///< kClassification: every class name.
  Metric metric = Metric::kMatchAll;
  int64_t tokens_to_generate = 0;  ///< The most that the model may answer.
  /// The model stops at a token that is just "\n" as at its EOS; its first token is neither (samsum).
  bool stop_at_newline = false;
  /// Only the prediction's first line counts, newlines in front left out.
  bool first_line_only = false;
  /// RULER: tokens of the prompt (encode_prompt) and tokens_to_generate together.
  /// LongBench: words of context, from the file; its length bucket.
  int64_t length = 0;
  /// RULER: what surrounds the needles, e.g. that user text stands in for the essays. May be empty.
  std::string haystack;

  std::string prompt() const { return input + answer_prefix; }
};

}  // namespace seer
