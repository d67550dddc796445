#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/tasks/longbench.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/eval/plans.h"
#include "trainer/eval/task_output.h"
#include "trainer/eval/task_setup.h"

namespace seer {

using Json = nlohmann::ordered_json;

int eval_longbench_command(const EvalLongBenchOptions& options) {
  check_task_outputs(options);
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
  const PromptTemplate prompt_template = task_template(options, PromptTemplate::kLlama31);
  const std::shared_ptr<const Tokenizer> tokenizer = require_tokenizer(options.model.model, config);
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
  Json settings = task_settings(options, prompt_template, config, *tokenizer);
  settings["max_prompt_tokens"] = most_prompt;
  TaskResults results(
      options.results, "longbench", settings.dump(),
      Json{{"model", options.model.model}, {"gates", options.model.gates}, {"data", options.data}}.dump());

  constexpr int64_t kTemplateTokens = 256;
  EvalModel model(options.model, most_prompt + kTemplateTokens + longest_answer);
  Generator generator(model, methods_of(contenders));
  hint_at_bos(tokenizer.get(), plans_of(contenders));
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
  write_task_summary(options, longbench_json(settings.dump(), contenders, scores));
  return 0;
}

}  // namespace seer
