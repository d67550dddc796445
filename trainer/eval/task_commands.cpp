#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/prompt_template.h"
#include "data/tasks/longbench.h"
#include "data/tasks/ruler.h"
#include "data/tasks/ruler_file.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/output_path.h"
#include "trainer/eval/plans.h"
#include "trainer/eval/provenance.h"
#include "trainer/eval/task_output.h"
#include "trainer/train_loop.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

constexpr uint64_t kRulerSeed = 42;

/// All that answers depend on but their prompts, which each answer knows, and the contender, whose name it bears: others may
/// be added later.
Json settings_of(const EvalTaskOptions& options, PromptTemplate prompt_template, const ModelConfig& config,
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

/// The dense model first, then every method with every rule.
std::vector<Contender> contenders_of(const EvalTaskOptions& options, const ModelConfig& config) {
  std::vector<Contender> contenders;
  if (!options.no_dense) contenders.push_back({.name = "dense", .plan = {}});
  std::vector<std::string> methods = options.methods;
  if (methods.empty() && !options.model.gates.empty()) methods.emplace_back("gate");
  for (AttentionPlan& plan : plans_of(options.model, config, options.selection, methods)) {
    const std::string name = fmt::format("{} {}", to_string(*plan.method), rule_text(plan));
    contenders.push_back({.name = name, .plan = std::move(plan)});
  }
  if (contenders.empty()) fail_usage("nothing to run: --no-dense, and neither --gates nor --methods");
  return contenders;
}

std::vector<ScoringMethod> methods_of(const std::vector<Contender>& contenders) {
  std::vector<ScoringMethod> methods;
  for (const Contender& contender : contenders) {
    if (contender.plan.method) methods.push_back(*contender.plan.method);
  }
  return methods;
}

/// "auto": the model's own; `llama` is how the benchmark's published figures write Llama-3's.
PromptTemplate template_of(const EvalTaskOptions& options, PromptTemplate llama) {
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

void check_outputs(const EvalTaskOptions& options) {
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

void write_summary(const EvalTaskOptions& options, const std::string& json) {
  const fs::path path = summary_path(options);
  write_file_atomically(path, json);
  fmt::print("answers: {}\nsummary: {}\n", options.results, path.string());
}

RulerOptions recipe_of(const EvalRulerOptions& options, const std::string& task, int64_t length) {
  return {.task = task,
          .length = length,
          .seed = options.seed.value_or(kRulerSeed),
          .haystack = options.haystack,
          .squad = options.squad,
          .hotpotqa = options.hotpotqa};
}

/// With several lengths each has a folder of its own.
fs::path folder_of(const fs::path& all, const EvalRulerOptions& options, int64_t length) {
  return options.lengths.size() > 1 ? all / std::to_string(length) : all;
}

/// The file of RULER's own scripts that holds the task's samples.
fs::path ruler_file(const EvalRulerOptions& options, const std::string& task, int64_t length) {
  return find_ruler_file(folder_of(options.data, options, length), task);
}

bool has_ruler_file(const EvalRulerOptions& options, std::string_view task, int64_t length) {
  try {
    ruler_file(options, std::string(task), length);
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Whether there is text for a task; says so if not.
bool is_possible(const EvalRulerOptions& options, const RulerTask& task) {
  if (options.data.empty()) {
    const bool possible = task.source == RulerSource::kNone ||
                          (task.source == RulerSource::kHaystack && !options.haystack.empty()) ||
                          (task.source == RulerSource::kSquad && !options.squad.empty()) ||
                          (task.source == RulerSource::kHotpotQa && !options.hotpotqa.empty());
    if (!possible)
      log::warn("{} is left out: it needs {}", task.name,
                task.source == RulerSource::kHaystack ? "--haystack"
                : task.source == RulerSource::kSquad  ? "--squad"
                                                      : "--hotpotqa");
    return possible;
  }
  std::vector<int64_t> missing;
  for (const int64_t length : options.lengths) {
    if (!has_ruler_file(options, task.name, length)) missing.push_back(length);
  }
  if (!missing.empty() && missing.size() < options.lengths.size())
    log::warn("{} is left out: {} has no file of {} tokens", task.name, options.data,
              fmt::join(missing, ", "));
  return missing.empty();
}

/// Those that were named, or all that the given files allow.
std::vector<std::string> ruler_names(const EvalRulerOptions& options) {
  if (!options.tasks.empty()) return options.tasks;
  std::vector<std::string> names;
  for (const RulerTask& task : ruler_tasks()) {
    if (is_possible(options, task)) names.emplace_back(task.name);
  }
  if (names.empty()) {
    const std::string folder = folder_of(options.data, options, options.lengths.front()).string();
    fail(
        "{} holds no file of a RULER task that all lengths have: {}/vt/validation.jsonl or {}/vt.jsonl was "
        "expected, say",
        options.data, folder, folder);
  }
  return names;
}

/// Throws what is wrong with tasks, lengths and their files, before a model is loaded for them.
void check_ruler_tasks(const EvalRulerOptions& options, const std::vector<std::string>& names) {
  if (!options.data.empty() &&
      (!options.haystack.empty() || !options.squad.empty() || !options.hotpotqa.empty() || options.seed ||
       !options.write.empty() || options.prompt_template != "auto")) {
    fail_usage(
        "--data: its prompts are complete: leave --haystack, --squad, --hotpotqa, --seed, --template and "
        "--write-samples out");
  }
  for (const int64_t length : options.lengths) {
    for (const std::string& name : names) {
      ruler_task(name);
      if (options.data.empty()) {
        check_ruler_options(recipe_of(options, name, length));
      } else {
        ruler_file(options, name, length);
      }
    }
  }
}

std::vector<TaskSample> ruler_samples(const EvalRulerOptions& options, const std::string& task,
                                      int64_t length, const Tokenizer& tokenizer,
                                      PromptTemplate prompt_template, int64_t most) {
  if (!options.data.empty()) {
    std::vector<TaskSample> samples = read_ruler_file(ruler_file(options, task, length), task);
    if (most > 0 && static_cast<int64_t>(samples.size()) > most) samples.resize(most);
    return samples;
  }
  constexpr int64_t kSamples = 25;
  RulerOptions recipe = recipe_of(options, task, length);
  recipe.prompt_template = prompt_template;
  return make_ruler_samples(recipe, tokenizer, most > 0 ? most : kSamples);
}

std::shared_ptr<const Tokenizer> tokenizer_of(const std::string& folder) {
  auto tokenizer = open_tokenizer(folder, load_model_config(folder));
  if (tokenizer == nullptr) fail("{} has no tokenizer.json or vocab.json", folder);
  return tokenizer;
}

}  // namespace

int eval_ruler_command(const EvalRulerOptions& options) {
  check_outputs(options);
  const std::vector<std::string> names = ruler_names(options);
  check_ruler_tasks(options, names);
  const ModelConfig config = load_model_config(options.model.model);
  const std::vector<Contender> contenders = contenders_of(options, config);
  const std::shared_ptr<const Tokenizer> tokenizer = tokenizer_of(options.model.model);
  const PromptTemplate prompt_template =
      !options.data.empty() ? PromptTemplate::kBase : template_of(options, PromptTemplate::kMetaLlama3);
  for (const int64_t length :
       options.lengths) {  // one of each says whether it fits, and whether files are whole
    for (const std::string& name : names)
      ruler_samples(options, name, length, *tokenizer, prompt_template, 1);
  }

  Json settings = settings_of(options, prompt_template, config, *tokenizer);
  settings["seed"] = options.data.empty() ? Json(options.seed.value_or(kRulerSeed)) : Json();
  TaskResults results(options.results, "ruler", settings.dump(),
                      Json{{"model", options.model.model},
                           {"gates", options.model.gates},
                           {"data", options.data},
                           {"haystack", options.haystack},
                           {"squad", options.squad},
                           {"hotpotqa", options.hotpotqa}}
                          .dump());

  const int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  // Files of RULER's scripts were made by other tokenizers' counts: they may be a little longer here.
  EvalModel model(options.model, options.data.empty() ? longest : longest + longest / 4 + 1024);
  Generator generator(model, methods_of(contenders));
  const StopSignal stop(0, "answer");
  std::vector<RulerScores> all;
  for (const int64_t length : options.lengths) {
    RulerScores at{.length = length, .scores = std::vector<ContenderScores>(contenders.size())};
    for (const std::string& name : names) {
      const std::vector<TaskSample> samples =
          ruler_samples(options, name, length, *tokenizer, prompt_template, options.samples);
      if (!options.write.empty()) {
        const fs::path folder = folder_of(options.write, options, length);
        fs::create_directories(folder);
        write_ruler_file(folder / (name + ".jsonl"), samples);
      }
      log::info("{} at {} tokens: {} samples ..", name, length, samples.size());
      if (!run_tasks(model, generator, contenders, samples, length, results, at.scores, stop))
        return stopped_early(options);
    }
    fmt::print("{}\n", ruler_table(contenders, at));
    std::fflush(stdout);
    all.push_back(std::move(at));
  }
  write_summary(options, ruler_json(settings.dump(), contenders, all));
  return 0;
}

int eval_longbench_command(const EvalLongBenchOptions& options) {
  check_outputs(options);
  constexpr int64_t kPublishedRoom = 500;
  std::vector<std::string> names = options.tasks;
  if (names.empty()) {
    for (const std::string_view name : find_longbench_sets(options.data)) names.emplace_back(name);
  }
  const ModelConfig config = load_model_config(options.model.model);
  const int64_t most_prompt = options.max_prompt_tokens > 0 ? options.max_prompt_tokens
                                                            : config.max_position_embeddings - kPublishedRoom;
  if (most_prompt < 1) {
    fail_usage("{} has {} positions, no more than answers are left room for: give --max-prompt-tokens",
               options.model.model, config.max_position_embeddings);
  }
  const PromptTemplate prompt_template = template_of(options, PromptTemplate::kLlama31);
  const std::shared_ptr<const Tokenizer> tokenizer = tokenizer_of(options.model.model);
  const auto samples_of = [&](const std::string& name) {
    std::vector<TaskSample> samples = read_longbench(
        {.folder = options.data, .prompt_template = prompt_template, .max_prompt_tokens = most_prompt}, name,
        *tokenizer);
    if (options.samples > 0 && static_cast<int64_t>(samples.size()) > options.samples)
      samples.resize(options.samples);
    return samples;
  };
  int64_t longest_answer = 0;
  for (const std::string& name : names) {
    longest_answer = std::max(longest_answer, longbench_task(name).tokens_to_generate);
    find_longbench_file(options.data, name);
  }
  const std::vector<Contender> contenders = contenders_of(options, config);
  Json settings = settings_of(options, prompt_template, config, *tokenizer);
  settings["max_prompt_tokens"] = most_prompt;
  TaskResults results(
      options.results, "longbench", settings.dump(),
      Json{{"model", options.model.model}, {"gates", options.model.gates}, {"data", options.data}}.dump());

  constexpr int64_t kTemplateTokens = 256;
  EvalModel model(options.model, most_prompt + kTemplateTokens + longest_answer);
  Generator generator(model, methods_of(contenders));
  const StopSignal stop(0, "answer");
  std::vector<ContenderScores> scores(contenders.size());
  for (const std::string& name : names) {
    const std::vector<TaskSample> samples = samples_of(name);
    log::info("{}: {} samples ..", name, samples.size());
    if (!run_tasks(model, generator, contenders, samples, 0, results, scores, stop))
      return stopped_early(options);
  }
  for (size_t c = 0; c < contenders.size(); ++c)
    fmt::print("{}\n", longbench_table(contenders[c], scores[c]));
  write_summary(options, longbench_json(settings.dump(), contenders, scores));
  return 0;
}

}  // namespace seer
