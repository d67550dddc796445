#include "trainer/eval/task_output.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const std::optional<double>& figure) {
  return figure ? fmt::format("{:.2f}", *figure) : "-";
}

Json json_of(const std::optional<double>& figure) {
  return figure ? Json(*figure) : Json();
}

Json json_of(const Figure& figure) {
  return {{"samples", figure.samples}, {"score", json_of(figure.score)}};
}

Json summary_head(const char* benchmark, const std::string& settings) {
  return {{"kind", "task_summary"},
          {"version", 1},
          {"benchmark", benchmark},
          {"settings", Json::parse(settings)},
          {"contenders", Json::array()}};
}

}  // namespace

std::string ruler_table(std::span<const Contender> contenders, const RulerScores& at) {
  std::vector<std::string> header = {fmt::format("{} tokens", at.length), "samples"};
  std::vector<RulerSummary> summaries;
  for (size_t c = 0; c < contenders.size(); ++c) {
    header.push_back(contenders[c].name);
    summaries.push_back(summarise_ruler(at.scores[c].samples));
  }
  TextTable table(header);
  for (size_t t = 0; t < summaries.front().rows.size(); ++t) {  // everyone's are of the same samples
    const RulerSummary::Row& row = summaries.front().rows[t];
    std::vector<std::string> cells = {row.task, std::to_string(row.figure.samples)};
    for (const RulerSummary& summary : summaries) cells.push_back(text_of(summary.rows[t].figure.score));
    table.add_row(cells);
  }
  table.add_rule();
  std::vector<std::string> average = {"average", ""};
  std::vector<std::string> density = {"density", ""};
  for (size_t c = 0; c < contenders.size(); ++c) {
    average.push_back(text_of(summaries[c].average));
    density.push_back(fmt::format("{:.4f}", at.scores[c].mean_density()));
  }
  table.add_row(average);
  table.add_row(density);
  return table.to_string();
}

std::string longbench_table(const Contender& contender, const ContenderScores& scores) {
  const LongBenchSummary summary = summarise_longbench(scores.samples);
  std::vector<std::string> header = {contender.name, "samples"};
  for (const std::string_view bucket : kLongBenchBuckets) header.emplace_back(bucket);
  header.emplace_back("all");
  TextTable table(header);
  for (const LongBenchSummary::Row& row : summary.rows) {
    std::vector<std::string> cells = {row.task, std::to_string(row.all.samples)};
    for (const Figure& figure : row.buckets) cells.push_back(text_of(figure.score));
    cells.push_back(text_of(row.all.score));
    table.add_row(cells);
  }
  table.add_rule();
  std::vector<std::string> average = {"average", ""};
  for (const auto& figure : summary.average) average.push_back(text_of(figure));
  average.push_back(text_of(summary.average_of_all));
  table.add_row(average);
  return fmt::format("{}density {:.4f}\n", table.to_string(), scores.mean_density());
}

std::string ruler_json(const std::string& settings, std::span<const Contender> contenders,
                       std::span<const RulerScores> lengths) {
  Json json = summary_head("ruler", settings);
  for (size_t c = 0; c < contenders.size(); ++c) {
    Json contender = {{"name", contenders[c].name}, {"lengths", Json::array()}};
    for (const RulerScores& at : lengths) {
      const RulerSummary summary = summarise_ruler(at.scores[c].samples);
      Json tasks = Json::object();
      for (const RulerSummary::Row& row : summary.rows) tasks[row.task] = json_of(row.figure);
      contender["lengths"].push_back({{"length", at.length},
                                      {"density", at.scores[c].mean_density()},
                                      {"average", json_of(summary.average)},
                                      {"tasks", tasks}});
    }
    json["contenders"].push_back(std::move(contender));
  }
  return json.dump(1) + "\n";
}

std::string longbench_json(const std::string& settings, std::span<const Contender> contenders,
                           std::span<const ContenderScores> scores) {
  Json json = summary_head("longbench", settings);
  for (size_t c = 0; c < contenders.size(); ++c) {
    const LongBenchSummary summary = summarise_longbench(scores[c].samples);
    Json averages = {{"all", json_of(summary.average_of_all)}};
    for (size_t b = 0; b < kLongBenchBuckets.size(); ++b)
      averages[std::string(kLongBenchBuckets[b])] = json_of(summary.average[b]);
    Json tasks = Json::object();
    for (const LongBenchSummary::Row& row : summary.rows) {
      Json figures = {{"all", json_of(row.all)}};
      for (size_t b = 0; b < kLongBenchBuckets.size(); ++b)
        figures[std::string(kLongBenchBuckets[b])] = json_of(row.buckets[b]);
      tasks[row.task] = std::move(figures);
    }
    json["contenders"].push_back({{"name", contenders[c].name},
                                  {"density", scores[c].mean_density()},
                                  {"average", averages},
                                  {"tasks", tasks}});
  }
  return json.dump(1) + "\n";
}

}  // namespace seer
