// What `eval ruler` and `eval longbench` have in common before and after their samples.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "data/prompt_template.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/task_run.h"

namespace seer {

/// All that answers depend on but their prompts, which each answer knows, and the contender, whose name it bears: others may
/// be added later.
nlohmann::ordered_json task_settings(const EvalTaskOptions& options, PromptTemplate prompt_template,
                                     const ModelConfig& config, const Tokenizer& tokenizer);

/// The dense model first, then every method with every rule.
std::vector<Contender> contenders_of(const EvalTaskOptions& options, const ModelConfig& config);
std::vector<AttentionPlan> plans_of(const std::vector<Contender>& contenders);
std::vector<ScoringMethod> methods_of(const std::vector<Contender>& contenders);

/// "auto": the model's own; `llama` is how the benchmark's published figures write Llama-3's.
PromptTemplate task_template(const EvalTaskOptions& options, PromptTemplate llama);

/// An Error if the model has none.
std::shared_ptr<const Tokenizer> require_tokenizer(const std::string& folder, const ModelConfig& config);

/// Throws usage Errors of files that the summary would take the place of, or cannot be written to.
void check_task_outputs(const EvalTaskOptions& options);
/// Writes the summary and prints where it lies.
void write_task_summary(const EvalTaskOptions& options, const std::string& json);
/// Says how to go on, and returns the exit code.
int stopped_early(const EvalTaskOptions& options);

}  // namespace seer
