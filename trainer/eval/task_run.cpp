#include "trainer/eval/task_run.h"

#include <nlohmann/json.hpp>

#include "data/tasks/prompt.h"
#include "data/tasks/scoring.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string to_line(const Json& record) {
  return record.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Which key of two settings differs, for the message.
std::string first_difference(const Json& stored, const Json& wanted) {
  for (const auto& [key, value] : wanted.items()) {
    if (!stored.contains(key)) return fmt::format("{} was not set", key);
    if (stored[key] != value) return fmt::format("{} was {}, now {}", key, stored[key].dump(), value.dump());
  }
  return "a key was set that is not now";
}

/// The token that is a single line break, if the tokenizer has one.
void add_newline_stop(const EvalModel& model, std::vector<int32_t>& ids) {
  if (const auto id = model.tokenizer()->token_to_id("\n")) ids.push_back(*id);
}

}  // namespace

TaskResults::TaskResults(const fs::path& file, const std::string& benchmark, const std::string& settings)
    : path_(file) {
  const Json header = {
      {"kind", "tasks"}, {"version", 1}, {"benchmark", benchmark}, {"settings", Json::parse(settings)}};
  if (fs::exists(file)) {
    read(read_text_file(file), header.dump());
    file_.emplace(file, AppendFile::Mode::kExisting);
    if (!answers_.empty())
      log::info("{} holds {} answers: going on behind them", file.string(), answers_.size());
  } else {
    if (file.has_parent_path()) fs::create_directories(file.parent_path());
    file_.emplace(file, AppendFile::Mode::kNew);
    file_->append(to_line(header));
  }
}

void TaskResults::read(const std::string& text, const std::string& header) {
  const size_t whole = text.rfind('\n') + 1;  // 0 if there is no line end
  if (whole == 0) {                           // a crash came before the header was written
    const std::string begun = to_line(Json::parse(header));
    if (!begun.starts_with(text)) fail_other_file();
    write_file_atomically(path_, begun);
    return;
  }
  int64_t line = 0;
  for (size_t begin = 0; begin < whole; ++line) {
    const size_t end = text.find('\n', begin);
    const Json json = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                  text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    begin = end + 1;
    try {
      if (line == 0) {
        const Json wanted = Json::parse(header);
        if (json.at("kind") != "tasks" || json.at("benchmark") != wanted["benchmark"] ||
            json.at("version") != 1)
          fail_other_file();
        if (json.at("settings") != wanted["settings"]) {
          fail_usage(
              "{} holds results of other settings ({}): name another --results file, or move that one away",
              path_.string(), first_difference(json["settings"], wanted["settings"]));
        }
        continue;
      }
      keep({.contender = json.at("contender"),
            .size = json.at("size"),
            .index = json.at("index"),
            .density = json.at("density"),
            .scored = {.task = json.at("task"), .length = json.at("length"), .score = json.at("score")}});
    } catch (const nlohmann::json::exception& error) {
      fail("{}:{}: no line of task results ({}): move the file away, or name another --results file",
           path_.string(), line + 1, error.what());
    }
  }
  if (whole < text.size()) {  // not before the file has proved to be ours
    log::warn("{}: the last line was cut off and is dropped", path_.string());
    write_file_atomically(path_, text.substr(0, whole));
  }
}

void TaskResults::fail_other_file() const {
  fail_usage("{} holds other results: name another --results file", path_.string());
}

void TaskResults::keep(Answer answer) {
  keys_.insert({answer.contender, answer.size, answer.scored.task, answer.index});
  answers_.push_back(std::move(answer));
}

bool TaskResults::has(const TaskSample& sample, int64_t size, const std::string& contender) const {
  return keys_.contains({contender, size, sample.task, sample.index});
}

void TaskResults::add(const TaskSample& sample, int64_t size, const std::string& contender,
                      const Generation& answer, double score) {
  file_->append(to_line({{"contender", contender},
                         {"size", size},
                         {"task", sample.task},
                         {"index", sample.index},
                         {"length", sample.length},
                         {"score", score},
                         {"density", answer.density},
                         {"prediction", answer.text},
                         {"outputs", sample.outputs},
                         {"prefill_seconds", answer.prefill_seconds},
                         {"decode_seconds", answer.decode_seconds}}));
  keep({.contender = contender,
        .size = size,
        .index = sample.index,
        .density = answer.density,
        .scored = {.task = sample.task, .length = sample.length, .score = score}});
}

std::vector<ScoredSample> TaskResults::scores(const std::string& contender, int64_t size) const {
  std::vector<ScoredSample> out;
  for (const Answer& answer : answers_) {
    if (answer.contender == contender && answer.size == size) out.push_back(answer.scored);
  }
  return out;
}

double TaskResults::density(const std::string& contender, int64_t size) const {
  double sum = 0;
  int64_t count = 0;
  for (const Answer& answer : answers_) {
    if (answer.contender != contender || answer.size != size) continue;
    sum += answer.density;
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

std::vector<int32_t> prompt_ids(const EvalModel& model, const TaskSample& sample) {
  return encode_prompt(*model.tokenizer(), sample.prompt());
}

void run_tasks(EvalModel& model, Generator& generator, std::span<const Contender> contenders,
               std::span<const TaskSample> samples, int64_t size, TaskResults& results) {
  const std::vector<int32_t> stop_ids = stop_ids_of(model);
  for (const TaskSample& sample : samples) {
    std::vector<int32_t> ids;
    for (const Contender& contender : contenders) {
      if (results.has(sample, size, contender.name)) continue;
      if (ids.empty()) ids = prompt_ids(model, sample);
      GenerateOptions options{.max_new_tokens = sample.tokens_to_generate, .stop_ids = stop_ids};
      if (sample.stop_at_newline) add_newline_stop(model, options.stop_ids_after_first);
      const Generation answer = generator.generate(ids, contender.plan, options);
      results.add(sample, size, contender.name, answer, score(sample, answer.text));
    }
  }
}

}  // namespace seer
