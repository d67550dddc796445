// RULER's 13 tasks, generated for any tokenizer and length.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/prompt_template.h"
#include "data/tasks/ruler_recipe.h"
#include "data/tasks/sample.h"
#include "data/tokenizer.h"

namespace seer {

enum class RulerSource { kNone, kHaystack, kSquad, kHotpotQa };

struct RulerTask {
  std::string_view name;
  int64_t tokens_to_generate;
  Metric metric;
  RulerSource source;  ///< The user's file that it is made from.
};

/// The 13, in RULER's order: niah_single_1 to 3, niah_multikey_1 to 3, niah_multivalue, niah_multiquery, vt,
/// cwe, fwe, qa_1, qa_2.
std::span<const RulerTask> ruler_tasks();
/// A usage Error that lists the names if there is no such task.
const RulerTask& ruler_task(std::string_view name);

struct RulerOptions {
  std::string task;
  /// Tokens of prompt (template, answer prefix and BOS included) and answer together: the most a sample has.
  int64_t length = 4096;
  uint64_t seed = 42;
  PromptTemplate prompt_template = PromptTemplate::kBase;
  std::filesystem::path
      haystack;                 ///< .txt or .jsonl (Haystack::load): for the six tasks that hide in essays.
  std::filesystem::path squad;  ///< dev-v2.0.json: for qa_1.
  std::filesystem::path hotpotqa;  ///< hotpot_dev_distractor_v1.json: for qa_2.
};

/// Throws what can be told before a file is read: usage Errors of a task that does not exist, of one whose file is not named
/// and of a length that leaves no room for its prompt, an Error of a file that is not there.
void check_ruler_options(const RulerOptions& options);

/// Writes samples of one task and length, with the texts, parameters and distributions of NVIDIA's scripts
/// (NVIDIA/RULER, scripts/data/synthetic), not their random numbers. Each sample has as much haystack as
/// fits. Different on purpose: no needle of a sample repeats another's key or value; a sample that cannot
/// fit is refused.
///
/// Immutable: const calls are thread-safe.
class RulerGenerator {
 public:
  /// Throws as check_ruler_options(), and an Error if a file cannot be read.
  RulerGenerator(const RulerOptions& options, const Tokenizer& tokenizer);

  /// Sample `index` (from 0): a function of seed, task, length, template, tokenizer, files and index alone.
  /// Throws Error, saying how many tokens it would take, if even the least haystack is too much; and past the
  /// last question of a qa file.
  TaskSample make(int64_t index) const;

 private:
  std::string join(const RulerText& text) const;

  RulerOptions options_;
  Tokenizer tokenizer_;
  const RulerTask& task_;
  std::unique_ptr<const RulerRecipe> recipe_;
};

/// Samples 0 to num_samples - 1.
std::vector<TaskSample> make_ruler_samples(const RulerOptions& options, const Tokenizer& tokenizer,
                                           int64_t num_samples);

}  // namespace seer
