#include "trainer/eval/task_results.h"

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kVersion = 2;  // 1: settings were paths alone

std::string to_line(const Json& record) {
  return record.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Which key of two settings differs, for the message.
std::string first_difference(const nlohmann::json& stored, const nlohmann::json& wanted) {
  for (const auto& [key, value] : wanted.items()) {
    if (!stored.contains(key)) return fmt::format("{} was not set", key);
    if (stored[key] != value) return fmt::format("{} was {}, now {}", key, stored[key].dump(), value.dump());
  }
  return "a key was set that is not now";
}

AppendFile open_file(const fs::path& file) {
  if (file.has_parent_path()) fs::create_directories(file.parent_path());
  return {file, AppendFile::Mode::kEither};
}

}  // namespace

TaskResults::TaskResults(const fs::path& file, const std::string& benchmark, const std::string& settings,
                         const std::string& about)
    : path_(file), file_(open_file(file)) {
  if (!file_.lock())
    fail("{}: another process writes its answers there: give this one another --results file", file.string());
  const Json header = {{"kind", "tasks"},
                       {"version", kVersion},
                       {"benchmark", benchmark},
                       {"settings", Json::parse(settings)},
                       {"about", Json::parse(about)}};
  read(read_text_file(file), to_line(header));
  if (!answers_.empty())
    log::info("{} holds {} answers: going on behind them", file.string(), answers_.size());
}

void TaskResults::read(const std::string& text, const std::string& header) {
  const size_t whole = text.rfind('\n') + 1;  // 0 if there is no line end
  if (whole == 0) {                           // new, or a crash came before the header was written
    if (!header.starts_with(text)) fail_other_file();
    file_.truncate(0);
    file_.append(header);
    return;
  }
  int64_t line = 0;
  for (size_t begin = 0; begin < whole; ++line) {
    const size_t end = text.find('\n', begin);
    const nlohmann::json json =
        nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                              text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    begin = end + 1;
    if (json.is_discarded()) fail_line(line, "it is not JSON");
    try {
      if (line == 0) {
        const auto wanted = nlohmann::json::parse(header);
        if (json.at("kind") != "tasks" || json.at("benchmark") != wanted["benchmark"]) fail_other_file();
        if (json.at("version") != kVersion) {
          fail_usage(
              "{} was written by another version of seer-train (format {}, not {}): name another --results "
              "file",
              path_.string(), json["version"].dump(), kVersion);
        }
        if (json.at("settings") != wanted["settings"]) {
          fail_usage(
              "{} holds results of other settings ({}): name another --results file, or move that one away",
              path_.string(), first_difference(json["settings"], wanted["settings"]));
        }
        continue;
      }
      answers_[{json.at("contender"), integer_at(json, "size"), json.at("task"), integer_at(json, "index")}] =
          {.prediction = json.at("prediction"),
           .prompt = static_cast<uint32_t>(integer_at(json, "prompt")),
           .density = json.at("density")};
    } catch (const nlohmann::json::exception& error) {
      fail_line(line, error.what());
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUsage) throw;
      fail_line(line, error.what());
    }
  }
  if (whole < text.size()) {  // not before the file has proved to be ours
    log::warn("{}: the last line was cut off and is dropped", path_.string());
    file_.truncate(static_cast<int64_t>(whole));
  }
}

void TaskResults::fail_line(int64_t line, const char* why) const {
  fail("{}:{}: no line of task results ({}): move the file away, or name another --results file",
       path_.string(), line + 1, why);
}

void TaskResults::fail_other_file() const {
  fail_usage("{} holds other results: name another --results file", path_.string());
}

const TaskResults::Answer* TaskResults::find(const TaskSample& sample, int64_t size,
                                             const std::string& contender) const {
  const auto found = answers_.find({contender, size, sample.task, sample.index});
  return found == answers_.end() ? nullptr : &found->second;
}

void TaskResults::add(const TaskSample& sample, int64_t size, const std::string& contender, uint32_t prompt,
                      const Generation& generation, double score) {
  Json record = {{"contender", contender},
                 {"size", size},
                 {"task", sample.task},
                 {"index", sample.index},
                 {"length", sample.length},
                 {"prompt", prompt},
                 {"score", score},
                 {"density", generation.density},
                 {"prediction", generation.text},
                 {"outputs", sample.outputs},
                 {"prefill_seconds", generation.prefill_seconds},
                 {"decode_seconds", generation.decode_seconds}};
  if (!sample.haystack.empty()) record["haystack"] = sample.haystack;
  file_.append(to_line(record));
  answers_[{contender, size, sample.task, sample.index}] = {
      .prediction = generation.text, .prompt = prompt, .density = generation.density};
}

}  // namespace seer
