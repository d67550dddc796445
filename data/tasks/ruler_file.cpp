#include "data/tasks/ruler_file.h"

#include <string>

#include <nlohmann/json.hpp>

#include "data/tasks/json_lines.h"
#include "data/tasks/ruler.h"
#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"

namespace seer {

std::vector<TaskSample> read_ruler_file(const std::filesystem::path& file, std::string_view task) {
  const RulerTask& kind = ruler_task(task);
  std::vector<TaskSample> samples;
  for_each_json_line(file, [&](const nlohmann::json& line, int64_t place) {
    TaskSample sample{.task = std::string(kind.name),
                      .index = place,
                      .input = line.at("input").get<std::string>(),
                      .answer_prefix = line.value("answer_prefix", ""),
                      .outputs = line.at("outputs").get<std::vector<std::string>>(),
                      .metric = kind.metric,
                      .tokens_to_generate = kind.tokens_to_generate,
                      .length = line.contains("length") ? integer_at(line, "length") : 0,
                      .haystack = line.value("haystack", "")};
    if (sample.outputs.empty()) fail("`outputs` is empty; expected the answers");
    samples.push_back(std::move(sample));
  });
  if (samples.empty()) fail("{}: there is no sample in it", file.string());
  return samples;
}

std::filesystem::path find_ruler_file(const std::filesystem::path& folder, std::string_view task) {
  std::filesystem::path prepared = folder / task / "validation.jsonl";
  std::filesystem::path plain = folder / fmt::format("{}.jsonl", task);
  if (std::filesystem::is_regular_file(prepared)) return prepared;
  if (std::filesystem::is_regular_file(plain)) return plain;
  fail("there is no file of RULER's task {}: neither {} nor {}", task, prepared.string(), plain.string());
}

void write_ruler_file(const std::filesystem::path& file, std::span<const TaskSample> samples) {
  std::string text;
  for (const TaskSample& sample : samples) {
    const nlohmann::ordered_json line = {{"index", sample.index},
                                         {"input", sample.input},
                                         {"outputs", sample.outputs},
                                         {"length", sample.length},
                                         {"length_w_model_temp", sample.length},
                                         {"answer_prefix", sample.answer_prefix},
                                         {"task", sample.task},
                                         {"tokens_to_generate", sample.tokens_to_generate},
                                         {"haystack", sample.haystack}};
    text += line.dump() + '\n';
  }
  write_file_atomically(file, text);
}

}  // namespace seer
