#include "trainer/eval/task_run.h"

#include "data/tasks/prompt.h"
#include "data/tasks/scoring.h"
#include "data/tasks/text.h"
#include "src/core/error.h"

namespace seer {
namespace {

GenerateOptions options_of(const EvalModel& model, const TaskSample& sample,
                           const std::vector<int32_t>& stop_ids) {
  GenerateOptions options{.max_new_tokens = sample.tokens_to_generate, .stop_ids = stop_ids};
  if (!sample.stop_at_newline) return options;
  // As the published run: its least length of one token bans whatever ends an answer from being the first one.
  options.banned_first = options.stop_ids;
  if (const auto id = model.tokenizer()->token_to_id("\n")) {
    options.stop_ids.push_back(*id);
    options.banned_first.push_back(*id);
  }
  return options;
}

}  // namespace

std::vector<int32_t> prompt_ids(const EvalModel& model, const TaskSample& sample) {
  return encode_prompt(*model.tokenizer(), sample.prompt());
}

void run_tasks(EvalModel& model, Generator& generator, std::span<const Contender> contenders,
               std::span<const TaskSample> samples, int64_t size, TaskResults& results,
               std::vector<ContenderScores>& scores) {
  SEER_CHECK(scores.size() == contenders.size(), "{} scores of {} contenders", scores.size(),
             contenders.size());
  const std::vector<int32_t> stop_ids = stop_ids_of(model);
  for (const TaskSample& sample : samples) {
    std::vector<int32_t> ids;
    for (size_t c = 0; c < contenders.size(); ++c) {
      const Contender& contender = contenders[c];
      const TaskResults::Answer* answer = results.find(sample, size, contender.name);
      if (answer == nullptr) {
        if (ids.empty()) ids = prompt_ids(model, sample);
        Generation generation = generator.generate(ids, contender.plan, options_of(model, sample, stop_ids));
        generation.text = valid_text(generation.text);  // as the file has it
        results.add(sample, size, contender.name, generation, score(sample, generation.text));
        answer = results.find(sample, size, contender.name);
      } else if (answer->outputs != sample.outputs) {
        fail("{}: sample {} of {} was another question when {} answered it: name another --results file",
             results.path().string(), sample.index, sample.task, contender.name);
      }
      scores[c].samples.push_back(
          {.task = sample.task, .length = sample.length, .score = score(sample, answer->prediction)});
      scores[c].density_sum += answer->density;
    }
  }
}

}  // namespace seer
