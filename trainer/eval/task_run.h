// Benchmark samples answered by the dense and the sparse model, one after the other.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "data/tasks/summary.h"
#include "trainer/eval/task_results.h"
#include "trainer/signals.h"

namespace seer {

/// One way to prefill that is compared with others.
struct Contender {
  std::string name;  ///< "dense", "gate nz_ratio 0.3"
  AttentionPlan plan;
};

/// What one contender's answers to the samples of one size are worth: all contenders answer the same ones.
struct ContenderScores {
  std::vector<ScoredSample> samples;
  double density_sum = 0;

  double mean_density() const {
    return samples.empty() ? 0 : density_sum / static_cast<double>(samples.size());
  }
};

/// Has every sample answered by every contender that has not done so yet, and adds what the answers are worth to `scores`,
/// one for each contender. Throws Error if the file holds an answer to
/// another prompt under that name.
/// False: `stop` asked for it, answers are missing.
bool run_tasks(EvalModel& model, Generator& generator, std::span<const Contender> contenders,
               std::span<const TaskSample> samples, int64_t size, TaskResults& results,
               std::vector<ContenderScores>& scores, const StopSignal& stop);

/// Tells prompts apart, by their ids.
uint32_t prompt_checksum(std::span<const int32_t> ids);

/// How an answer to `sample` ends, for a model with these stop ids (stop_ids_of()).
GenerateOptions answer_options(const TaskSample& sample, const Tokenizer& tokenizer,
                               std::vector<int32_t> stop_ids);

}  // namespace seer
