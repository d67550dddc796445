// Answers to benchmark samples in a file: what is answered stays answered.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "data/tasks/sample.h"
#include "trainer/append_file.h"
#include "trainer/eval/generator.h"

namespace seer {

/// The results of a run as JSON lines: a header with everything that the answers depend on but their prompts, then one answer
/// a line. A line that a crash has cut off is dropped. One process at a time.
class TaskResults {
 public:
  struct Answer {
    std::string prediction;
    uint32_t prompt = 0;  ///< prompt_checksum() of what was answered
    double density = 1;
  };

  /// Opens or begins `file`. Throws a usage Error if it holds the answers of other `settings`, an Error if another process
  /// writes it or it is damaged, naming file and line. `about`: where things lay, for those who read the file. Both are JSON
  /// objects as text.
  TaskResults(const std::filesystem::path& file, const std::string& benchmark, const std::string& settings,
              const std::string& about = "{}");

  /// The answer to a sample, or null. `size` tells runs of one task apart (RULER's length); 0 where there is one.
  const Answer* find(const TaskSample& sample, int64_t size, const std::string& contender) const;
  /// `prompt` is what was answered. `score` is written beside the answer for those who read the file; it is computed anew from the prediction where it counts.
  void add(const TaskSample& sample, int64_t size, const std::string& contender, uint32_t prompt,
           const Generation& generation, double score);

  const std::filesystem::path& path() const { return path_; }

 private:
  using Key = std::tuple<std::string, int64_t, std::string, int64_t>;  // contender, size, task, index

  void read(const std::string& text, const std::string& header);
  [[noreturn]] void fail_line(int64_t line, const char* why) const;
  [[noreturn]] void fail_other_file() const;

  std::filesystem::path path_;
  std::map<Key, Answer> answers_;
  AppendFile file_;
};

}  // namespace seer
