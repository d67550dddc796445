#include <algorithm>
#include <bit>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/chat_template.h"
#include "data/tasks/longbench.h"
#include "data/tasks/ruler.h"
#include "data/tasks/ruler_file.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/perplexity.h"
#include "trainer/eval/task_run.h"
#include "trainer/table.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

std::string text_of(const std::optional<double>& figure) {
  return figure ? fmt::format("{:.2f}", *figure) : "-";
}

/// Tells thresholds by head apart: the same file may hold others after another calibration.
uint64_t hash_of(const std::vector<std::vector<float>>& values) {
  uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  for (const std::vector<float>& layer : values) {
    for (const float value : layer) hash = (hash ^ std::bit_cast<uint32_t>(value)) * 0x100000001b3ULL;
  }
  return hash;
}

/// All that answers depend on, but for the contender, whose name each answer bears: others may be added later.
Json settings_of(const EvalTaskOptions& options, const std::vector<Contender>& contenders) {
  bool last_block_dense = false;
  Json thresholds;
  for (const Contender& contender : contenders) {
    last_block_dense |= contender.plan.rule.dense_last_rows > 0;  // by a flag or the gates' config.json
    if (!contender.plan.values.empty()) thresholds = fmt::format("{:016x}", hash_of(contender.plan.values));
  }
  const SelectionFlags& s = options.selection;
  return {{"model", options.model.model},         {"gates", options.model.gates},
          {"device", options.model.device},       {"precision", options.model.precision},
          {"block", options.model.block_size},    {"template", options.prompt_template},
          {"last_block_dense", last_block_dense}, {"no_diagonal", s.no_diagonal},
          {"sink_blocks", s.sink_blocks},         {"local_blocks", s.local_blocks},
          {"min_blocks", s.min_blocks},           {"dense_layers", s.dense_layers},
          {"thresholds_by_head", thresholds}};
}

/// The dense model first, then every method with every rule.
std::vector<Contender> contenders_of(const EvalTaskOptions& options, const EvalModel& model) {
  std::vector<Contender> contenders;
  if (!options.no_dense) contenders.push_back({.name = "dense", .plan = {}});
  std::vector<std::string> methods = options.methods;
  if (methods.empty() && model.gates() != nullptr) methods.emplace_back("gate");
  for (const std::string& method : methods) {
    for (const SelectionRule& rule : rules_for(method, options.selection, model.gates())) {
      AttentionPlan plan =
          plan_of(options.model, method, options.selection, rule, model.gates(), model.config());
      const std::string name = fmt::format("{} {}", method, rule_text(plan));
      contenders.push_back({.name = name, .plan = std::move(plan)});
    }
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

/// "auto": the format whose special tokens the tokenizer has, else none.
PromptTemplate template_of(const std::string& name, const Tokenizer& tokenizer, PromptTemplate llama) {
  if (name != "auto") return parse_prompt_template(name);
  const auto format = detect_chat_format(tokenizer);
  if (!format) return PromptTemplate::kBase;
  return *format == ChatFormat::kLlama3 ? llama : PromptTemplate::kChatMl;
}

std::vector<std::string> ruler_names(const EvalRulerOptions& options) {
  std::vector<std::string> names = options.tasks;
  if (!names.empty()) return names;
  for (const RulerTask& task : ruler_tasks()) {
    const bool possible = !options.data.empty() || task.source == RulerSource::kNone ||
                          (task.source == RulerSource::kHaystack && !options.haystack.empty()) ||
                          (task.source == RulerSource::kSquad && !options.squad.empty()) ||
                          (task.source == RulerSource::kHotpotQa && !options.hotpotqa.empty());
    if (possible) {
      names.emplace_back(task.name);
    } else {
      log::warn("{} is left out: its text was not given (--haystack, --squad, --hotpotqa)", task.name);
    }
  }
  return names;
}

RulerOptions recipe_of(const EvalRulerOptions& options, const std::string& task, int64_t length) {
  return {.task = task,
          .length = length,
          .seed = options.seed,
          .haystack = options.haystack,
          .squad = options.squad,
          .hotpotqa = options.hotpotqa};
}

/// The file of RULER's own scripts that holds the task's samples.
fs::path ruler_file(const EvalRulerOptions& options, const std::string& task, int64_t length) {
  const fs::path folder = options.data;
  return find_ruler_file(options.lengths.size() > 1 ? folder / std::to_string(length) : folder, task);
}

/// Throws what is wrong with tasks, lengths and their files, before a model is loaded for them.
void check_ruler_tasks(const EvalRulerOptions& options, const std::vector<std::string>& names) {
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
                                      PromptTemplate prompt_template) {
  if (!options.data.empty()) {
    std::vector<TaskSample> samples = read_ruler_file(ruler_file(options, task, length), task);
    if (static_cast<int64_t>(samples.size()) > options.samples) samples.resize(options.samples);
    return samples;
  }
  RulerOptions recipe = recipe_of(options, task, length);
  recipe.prompt_template = prompt_template;
  return make_ruler_samples(recipe, tokenizer, options.samples);
}

void print_ruler(const std::vector<Contender>& contenders, const std::vector<int64_t>& lengths,
                 const TaskResults& results) {
  for (const int64_t length : lengths) {
    std::vector<std::string> header = {fmt::format("{} tokens", length)};
    std::vector<RulerSummary> summaries;
    for (const Contender& contender : contenders) {
      header.push_back(contender.name);
      summaries.push_back(summarise_ruler(results.scores(contender.name, length)));
    }
    TextTable table(header);
    for (const RulerTask& task : ruler_tasks()) {
      std::vector<std::string> cells = {std::string(task.name)};
      bool answered = false;  // an interrupted run leaves tasks that not everyone has answered
      for (const RulerSummary& summary : summaries) {
        const auto row = std::find_if(summary.rows.begin(), summary.rows.end(),
                                      [&](const auto& r) { return r.task == task.name; });
        cells.push_back(row == summary.rows.end() ? "-" : text_of(row->figure.score));
        answered |= row != summary.rows.end();
      }
      if (answered) table.add_row(cells);
    }
    table.add_rule();
    std::vector<std::string> average = {"average"};
    std::vector<std::string> density = {"density"};
    for (size_t c = 0; c < contenders.size(); ++c) {
      average.push_back(text_of(summaries[c].average));
      density.push_back(fmt::format("{:.4f}", results.density(contenders[c].name, length)));
    }
    table.add_row(average);
    table.add_row(density);
    fmt::print("{}\n", table.to_string());
  }
}

void print_longbench(const std::vector<Contender>& contenders, const TaskResults& results) {
  for (const Contender& contender : contenders) {
    const LongBenchSummary summary = summarise_longbench(results.scores(contender.name, 0));
    std::vector<std::string> header = {contender.name};
    for (const std::string_view bucket : kLongBenchBuckets) header.emplace_back(bucket);
    header.emplace_back("all");
    TextTable table(header);
    for (const LongBenchSummary::Row& row : summary.rows) {
      std::vector<std::string> cells = {row.task};
      for (const Figure& figure : row.buckets) cells.push_back(text_of(figure.score));
      cells.push_back(text_of(row.all.score));
      table.add_row(cells);
    }
    table.add_rule();
    std::vector<std::string> average = {"average"};
    for (const auto& figure : summary.average) average.push_back(text_of(figure));
    average.push_back(text_of(summary.average_of_all));
    table.add_row(average);
    fmt::print("{}density {:.4f}\n\n", table.to_string(), results.density(contender.name, 0));
  }
}

}  // namespace

int eval_ruler_command(const EvalRulerOptions& options) {
  check_choices(options.methods, options.selection);
  const std::vector<std::string> names = ruler_names(options);
  check_ruler_tasks(options, names);
  const int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  // Files of RULER's scripts were made by other tokenizers' counts: they may be a little longer here.
  EvalModel model(options.model, options.data.empty() ? longest : longest + longest / 4 + 1024);
  if (model.tokenizer() == nullptr) fail("{} has no tokenizer.json or vocab.json", options.model.model);
  const PromptTemplate prompt_template =
      template_of(options.prompt_template, *model.tokenizer(), PromptTemplate::kMetaLlama3);
  const std::vector<Contender> contenders = contenders_of(options, model);
  Json settings = settings_of(options, contenders);
  settings["template"] = prompt_template_name(prompt_template);
  settings["seed"] = options.seed;
  settings["data"] = options.data;
  settings["haystack"] = options.haystack;
  settings["squad"] = options.squad;
  settings["hotpotqa"] = options.hotpotqa;
  TaskResults results(options.results, "ruler", settings.dump());
  Generator generator(model, methods_of(contenders));
  for (const int64_t length : options.lengths) {
    for (const std::string& name : names) {
      const std::vector<TaskSample> samples =
          ruler_samples(options, name, length, *model.tokenizer(), prompt_template);
      run_tasks(model, generator, contenders, samples, length, results);
      log::info("{} at {} tokens: {} samples", name, length, samples.size());
    }
  }
  print_ruler(contenders, options.lengths, results);
  fmt::print("answers: {}\n", options.results);
  return 0;
}

int eval_longbench_command(const EvalLongBenchOptions& options) {
  check_choices(options.methods, options.selection);
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
  int64_t longest_answer = 0;
  for (const std::string& name : names)
    longest_answer = std::max(longest_answer, longbench_task(name).tokens_to_generate);
  constexpr int64_t kTemplateTokens = 256;
  EvalModel model(options.model, most_prompt + kTemplateTokens + longest_answer);
  if (model.tokenizer() == nullptr) fail("{} has no tokenizer.json or vocab.json", options.model.model);
  const PromptTemplate prompt_template =
      template_of(options.prompt_template, *model.tokenizer(), PromptTemplate::kLlama31);
  const std::vector<Contender> contenders = contenders_of(options, model);
  Json settings = settings_of(options, contenders);
  settings["template"] = prompt_template_name(prompt_template);
  settings["data"] = options.data;
  settings["max_prompt_tokens"] = most_prompt;
  TaskResults results(options.results, "longbench", settings.dump());
  Generator generator(model, methods_of(contenders));
  for (const std::string& name : names) {
    std::vector<TaskSample> samples = read_longbench(
        {.folder = options.data, .prompt_template = prompt_template, .max_prompt_tokens = most_prompt}, name,
        *model.tokenizer());
    if (options.samples > 0 && static_cast<int64_t>(samples.size()) > options.samples)
      samples.resize(options.samples);
    run_tasks(model, generator, contenders, samples, 0, results);
    log::info("{}: {} samples", name, samples.size());
  }
  print_longbench(contenders, results);
  fmt::print("answers: {}\n", options.results);
  return 0;
}

}  // namespace seer
