#include "trainer/eval/task_setup.h"

#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"
#include "trainer/eval/plans.h"
#include "trainer/eval/provenance.h"
#include "trainer/output_path.h"
#include "trainer/train_loop.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Where the summary goes: `--json`, or beside the answers under their name.
fs::path summary_path(const EvalTaskOptions& options) {
  return options.json.empty() ? fs::path(options.results).replace_extension(".json") : fs::path(options.json);
}

/// Whether the file there may be replaced: a summary of an earlier run.
bool is_summary(const fs::path& path) {
  try {
    const nlohmann::json json = read_json_file(path);
    return json.is_object() && json.value("kind", "") == "task_summary";
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

Json task_settings(const EvalTaskOptions& options, PromptTemplate prompt_template, const ModelConfig& config,
                   const Tokenizer& tokenizer) {
  const EvalModelOptions& model = options.model;
  return {{"model_checksum", model_checksum(model.model)},
          {"gates_checksum", model.gates.empty() ? "" : gates_checksum(model.gates)},
          {"device", model.device},
          {"precision", model.precision},
          {"block", model.block_size},
          {"template", prompt_template_name(prompt_template)},
          {"stop_ids", stop_ids_of(model.model, config, &tokenizer)}};
}

std::vector<Contender> contenders_of(const EvalTaskOptions& options, const ModelConfig& config) {
  std::vector<Contender> contenders;
  if (!options.no_dense) contenders.push_back({.name = "dense", .plan = {}});
  std::vector<std::string> methods = options.methods;
  if (methods.empty() && !options.model.gates.empty()) methods.emplace_back("gate");
  std::vector<AttentionPlan> plans = plans_of(options.model, config, options.selection, methods);
  follow_config(options.model.gates, options.selection, plans);
  for (AttentionPlan& plan : plans) {
    const std::string name = fmt::format("{} {}", to_string(*plan.method), rule_text(plan));
    contenders.push_back({.name = name, .plan = std::move(plan)});
  }
  if (contenders.empty()) fail_usage("nothing to run: --no-dense, and neither --gates nor --methods");
  return contenders;
}

std::vector<AttentionPlan> plans_of(const std::vector<Contender>& contenders) {
  std::vector<AttentionPlan> plans;
  plans.reserve(contenders.size());
  for (const Contender& contender : contenders) plans.push_back(contender.plan);
  return plans;
}

std::vector<ScoringMethod> methods_of(const std::vector<Contender>& contenders) {
  std::vector<ScoringMethod> methods;
  for (const Contender& contender : contenders) {
    if (contender.plan.method) methods.push_back(*contender.plan.method);
  }
  return methods;
}

PromptTemplate task_template(const EvalTaskOptions& options, PromptTemplate llama) {
  if (options.prompt_template != "auto") return parse_prompt_template(options.prompt_template);
  const std::string& folder = options.model.model;
  const auto text = read_chat_template(folder);
  if (!text) {
    log::info("{} has no chat template: prompts are plain text (--template names one)", folder);
    return PromptTemplate::kBase;
  }
  const auto known = recognise_template(*text);
  if (!known)
    fail_usage("the chat template of {} is none that is built in: name one with --template, or base", folder);
  const bool is_llama = *known == PromptTemplate::kLlama31 || *known == PromptTemplate::kMetaLlama3;
  return is_llama ? llama : *known;
}

void check_task_outputs(const EvalTaskOptions& options) {
  check_output_path("--json", options.json);
  const fs::path summary = summary_path(options);
  if (summary.lexically_normal() == fs::path(options.results).lexically_normal())
    fail_usage("--results {}: the summary would take its place: name it .jsonl, or give --json another file",
               options.results);
  if (options.json.empty() && fs::exists(summary) && !is_summary(summary))
    fail_usage("{} is where the summary goes, and holds something else: name another --results, or a --json",
               summary.string());
}

int stopped_early(const EvalTaskOptions& options) {
  log::info("stopped: {} keeps the answers so far; the same command goes on behind them", options.results);
  return kExitStoppedEarly;
}

void write_task_summary(const EvalTaskOptions& options, const std::string& json) {
  const fs::path path = summary_path(options);
  write_file_atomically(path, json);
  fmt::print("answers: {}\nsummary: {}\n", options.results, path.string());
}

std::shared_ptr<const Tokenizer> require_tokenizer(const std::string& folder, const ModelConfig& config) {
  auto tokenizer = open_tokenizer(folder, config);
  if (tokenizer == nullptr) fail("{} has no tokenizer.json or vocab.json", folder);
  return tokenizer;
}

}  // namespace seer
