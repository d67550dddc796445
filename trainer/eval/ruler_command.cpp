#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/tasks/ruler.h"
#include "data/tasks/ruler_file.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/eval/plans.h"
#include "trainer/eval/task_output.h"
#include "trainer/eval/task_setup.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kRulerSeed = 42;

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

/// Tokens of the longest prompt and its answer. This build makes samples to measure; a file's were made by another tokenizer's
/// count.
int64_t most_tokens(const EvalRulerOptions& options, const std::string& task, int64_t length,
                    const Tokenizer& tokenizer) {
  if (options.data.empty()) return length;
  int64_t most = 0;
  for (const TaskSample& sample :
       ruler_samples(options, task, length, tokenizer, PromptTemplate::kBase, options.samples)) {
    most = std::max(most, std::ssize(encode_prompt(tokenizer, sample.prompt())) + sample.tokens_to_generate);
  }
  return most;
}

}  // namespace

int eval_ruler_command(const EvalRulerOptions& options) {
  check_task_outputs(options);
  const std::vector<std::string> names = ruler_names(options);
  check_ruler_tasks(options, names);
  const ModelConfig config = load_model_config(options.model.model);
  const std::vector<Contender> contenders = contenders_of(options, config);
  const std::shared_ptr<const Tokenizer> tokenizer = require_tokenizer(options.model.model, config);
  const PromptTemplate prompt_template =
      !options.data.empty() ? PromptTemplate::kBase : task_template(options, PromptTemplate::kMetaLlama3);
  int64_t longest = 0;
  for (const int64_t length : options.lengths) {  // one of each says whether files are whole
    for (const std::string& name : names) {
      ruler_samples(options, name, length, *tokenizer, prompt_template, 1);
      longest = std::max(longest, most_tokens(options, name, length, *tokenizer));
    }
  }

  Json settings = task_settings(options, prompt_template, config, *tokenizer);
  settings["seed"] = options.data.empty() ? Json(options.seed.value_or(kRulerSeed)) : Json();
  TaskResults results(options.results, "ruler", settings.dump(),
                      Json{{"model", options.model.model},
                           {"gates", options.model.gates},
                           {"data", options.data},
                           {"haystack", options.haystack},
                           {"squad", options.squad},
                           {"hotpotqa", options.hotpotqa}}
                          .dump());

  EvalModel model(options.model, longest);
  Generator generator(model, methods_of(contenders));
  hint_at_bos(tokenizer.get(), plans_of(contenders));
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
  write_task_summary(options, ruler_json(settings.dump(), contenders, all));
  return 0;
}

}  // namespace seer
