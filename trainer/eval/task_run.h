// Benchmark samples answered by the dense and the sparse model, one after the other; what is answered stays answered.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "data/tasks/sample.h"
#include "data/tasks/summary.h"
#include "trainer/append_file.h"
#include "trainer/eval/generator.h"

namespace seer {

/// One way to prefill that is compared with others.
struct Contender {
  std::string name;  ///< "dense", "gate nz_ratio 0.3"
  AttentionPlan plan;
};

/// The results of a run as JSON lines: a header with everything that the answers depend on, then one answer a line. A line
/// that a crash has cut off is dropped.
class TaskResults {
 public:
  /// Opens or begins `file`. Throws a usage Error if it holds the answers of other `settings` (a JSON object as text), an
  /// Error naming file and line if it is damaged.
  TaskResults(const std::filesystem::path& file, const std::string& benchmark, const std::string& settings);

  /// `size` tells runs of one task apart (RULER's length); 0 where there is one.
  bool has(const TaskSample& sample, int64_t size, const std::string& contender) const;
  void add(const TaskSample& sample, int64_t size, const std::string& contender, const Generation& answer,
           double score);

  /// The scores of one contender at one size.
  std::vector<ScoredSample> scores(const std::string& contender, int64_t size) const;
  /// Their mean density.
  double density(const std::string& contender, int64_t size) const;

 private:
  struct Answer {
    std::string contender;
    int64_t size;
    int64_t index;
    double density;
    ScoredSample scored;
  };
  using Key = std::tuple<std::string, int64_t, std::string, int64_t>;  // contender, size, task, index

  void read(const std::string& text, const std::string& header);
  void keep(Answer answer);
  [[noreturn]] void fail_other_file() const;

  std::filesystem::path path_;
  std::vector<Answer> answers_;
  std::set<Key> keys_;
  std::optional<AppendFile> file_;
};

/// Answers and scores every sample by every contender that has not done so yet.
void run_tasks(EvalModel& model, Generator& generator, std::span<const Contender> contenders,
               std::span<const TaskSample> samples, int64_t size, TaskResults& results);

/// Prompt ids as the benchmarks encode them.
std::vector<int32_t> prompt_ids(const EvalModel& model, const TaskSample& sample);

}  // namespace seer
