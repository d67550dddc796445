// LongBench-E: the 13 English sets from the user's jsonl files, as prompts with expected answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "data/prompt_template.h"
#include "data/tasks/sample.h"
#include "data/tokenizer.h"

namespace seer {

struct LongBenchTask {
  std::string_view name;
  std::string_view prompt;  ///< With {context} and, but for some, {input}.
  int64_t tokens_to_generate;
  Metric metric;
  bool chat_template;    ///< Few-shot and code prompts go in without one.
  bool first_line_only;  ///< TaskSample::first_line_only
  bool stop_at_newline;  ///< TaskSample::stop_at_newline
};

/// The 13, in the published order: qasper, multifieldqa_en, hotpotqa, 2wikimqa, gov_report, multi_news, trec,
/// triviaqa, samsum, passage_count, passage_retrieval_en, lcc, repobench-p.
std::span<const LongBenchTask> longbench_tasks();
/// A usage Error that lists the names if there is no such set.
const LongBenchTask& longbench_task(std::string_view name);

struct LongBenchOptions {
  std::filesystem::path folder;  ///< With <set>_e.jsonl or <set>.jsonl.
  PromptTemplate prompt_template = PromptTemplate::kBase;
  /// A longer prompt (BOS included, before the chat template) loses its middle: half of this is kept from
  /// either end. Published: the model's max_position_embeddings - 500, to leave room for template and answer
  /// (which gov_report and multi_news, of 512 tokens, may overrun).
  int64_t max_prompt_tokens = 0;
};

/// The sets that have a file in the folder, in the published order. Throws Error that says where to get them
/// if there is none.
std::vector<std::string_view> find_longbench_sets(const std::filesystem::path& folder);

/// The file of one set. Throws Error if there is none.
std::filesystem::path find_longbench_file(const std::filesystem::path& folder, std::string_view name);

/// Reads one set, <name>_e.jsonl before <name>.jsonl. Throws Error naming the file, the line and what is
/// missing or of another type.
std::vector<TaskSample> read_longbench(const LongBenchOptions& options, std::string_view name,
                                       const Tokenizer& tokenizer);

/// `prompt` with its middle left out if it has more tokens: decoded from the ids of both ends, without
/// special tokens, U+FFFD where a cut went through a character.
std::string cut_middle(const Tokenizer& tokenizer, std::string prompt, int64_t max_tokens);

}  // namespace seer
