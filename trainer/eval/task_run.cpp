#include "trainer/eval/task_run.h"

#include "data/prompt_template.h"
#include "data/tasks/scoring.h"
#include "data/tasks/text.h"
#include "src/core/error.h"
#include "src/io/checksum.h"

namespace seer {

uint32_t prompt_checksum(std::span<const int32_t> ids) {
  Crc32 crc;
  crc.add(std::as_bytes(ids));
  return crc.value();
}

GenerateOptions answer_options(const TaskSample& sample, const Tokenizer& tokenizer,
                               std::vector<int32_t> stop_ids) {
  GenerateOptions options{.max_new_tokens = sample.tokens_to_generate, .stop_ids = std::move(stop_ids)};
  if (!sample.stop_at_newline) return options;
  if (const auto id = tokenizer.token_to_id("\n")) options.stop_ids.push_back(*id);
  // As the published run: its least length of one token bans whatever ends an answer from being the first one.
  options.banned_first = options.stop_ids;
  return options;
}

bool run_tasks(EvalModel& model, Generator& generator, std::span<const Contender> contenders,
               std::span<const TaskSample> samples, int64_t size, TaskResults& results,
               std::vector<ContenderScores>& scores, const StopSignal& stop) {
  SEER_CHECK(scores.size() == contenders.size(), "{} scores of {} contenders", scores.size(),
             contenders.size());
  const std::vector<int32_t> stop_ids = stop_ids_of(model);
  for (const TaskSample& sample : samples) {
    const std::vector<int32_t> ids = encode_prompt(*model.tokenizer(), sample.prompt());
    const uint32_t prompt = prompt_checksum(ids);
    for (size_t c = 0; c < contenders.size(); ++c) {
      const Contender& contender = contenders[c];
      const TaskResults::Answer* answer = results.find(sample, size, contender.name);
      if (answer == nullptr) {
        if (stop.requested()) return false;
        Generation generation =
            generator.generate(ids, contender.plan, answer_options(sample, *model.tokenizer(), stop_ids));
        generation.text = valid_text(generation.text);  // as the file has it
        results.add(sample, size, contender.name, prompt, generation, score(sample, generation.text));
        answer = results.find(sample, size, contender.name);
      } else if (answer->prompt != prompt) {
        fail("{}: sample {} of {} had another prompt when {} answered it: name another --results file",
             results.path().string(), sample.index, sample.task, contender.name);
      }
      scores[c].samples.push_back(
          {.task = sample.task, .length = sample.length, .score = score(sample, answer->prediction)});
      scores[c].density_sum += answer->density;
    }
  }
  return true;
}

}  // namespace seer
