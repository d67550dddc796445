#include "trainer/report/report_files.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/json_file.h"
#include "trainer/folder_kind.h"
#include "trainer/gates_folder.h"
#include "trainer/report/html.h"
#include "trainer/report/perplexity_file.h"
#include "trainer/run_config.h"
#include "trainer/run_folder.h"

namespace seer::report {
namespace {

namespace fs = std::filesystem;

bool is_perplexity_file(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with("eval-ppl") && name.ends_with(".json") && fs::is_regular_file(path);
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  if (!fs::is_directory(folder)) return entries;
  for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

void add_perplexity(const fs::path& folder, Report& report) {
  for (const fs::path& entry : sorted_entries(folder)) {
    if (is_perplexity_file(entry)) report.perplexity.push_back(read_perplexity(entry));
  }
}

/// Lines of one entry must agree on the number of layers, else no chart can hold them.
void check_layers(const fs::path& file, const GateCurves& gate) {
  const auto check = [&](int64_t step, size_t layers) {
    const size_t expected =
        gate.layer_losses.empty() ? gate.evals.front().layer_losses.size() : gate.layer_losses.front().size();
    if (layers != expected || layers == 0) {
      fail("{}: step {} of gate \"{}\" has {} layers, the first line has {}", file.string(), step, gate.name,
           layers, expected);
    }
  };
  for (size_t i = 0; i < gate.steps.size(); ++i) check(gate.steps[i], gate.layer_losses[i].size());
  for (const EvalMetrics& eval : gate.evals) check(eval.step, eval.layer_losses.size());
}

/// One set of curves for each gate entry, in the order of their first lines.
std::vector<GateCurves> curves_of(const fs::path& file, const MetricsHistory& history) {
  std::vector<GateCurves> gates;
  std::map<std::string, size_t> index;
  const auto entry = [&](const std::string& name) -> GateCurves& {
    const auto [found, is_new] = index.emplace(name, gates.size());
    if (is_new) gates.push_back({.name = name});
    return gates[found->second];
  };
  for (const StepMetrics& step : history.steps) {
    for (const GateMetrics& metrics : step.gates) {
      GateCurves& gate = entry(metrics.name);
      gate.steps.push_back(step.step);
      gate.loss.push_back(metrics.loss);
      gate.layer_losses.push_back(metrics.layer_losses);
    }
  }
  for (const EvalMetrics& eval : history.evals) entry(eval.gate).evals.push_back(eval);
  for (const GateCurves& gate : gates) check_layers(file, gate);
  return gates;
}

void add_run(const RunPaths& run, Report& report) {
  MetricsHistory history;
  if (fs::exists(run.metrics())) {
    history = read_metrics(run.metrics());
    report.training = curves_of(run.metrics(), history);
  }
  if (run.holds_run()) {
    const RunConfig config = load_run_config(run.config(), {});
    for (const GateEntryConfig& entry : config.gates) {
      for (GateCurves& gate : report.training) {
        if (gate.name == entry.name)
          gate.description = fmt::format("{}, block {}", entry.type, entry.block_size);
      }
    }
    report.facts.emplace_back("Model", config.model.path);
    report.facts.emplace_back("Training text", config.data.files.size() == 1
                                                   ? config.data.files.front()
                                                   : fmt::format("{} and {} more", config.data.files.front(),
                                                                 config.data.files.size() - 1));
    report.facts.emplace_back("Sequences",
                              fmt::format("{} of {} tokens a step", grouped(config.train.batch_size),
                                          grouped(config.data.sequence_length)));
    report.facts.emplace_back("Device", config.device);
  }
  if (!history.steps.empty()) {
    const StepMetrics& last = history.steps.back();
    report.facts.emplace_back("Steps", grouped(last.step));
    report.facts.emplace_back("Tokens seen", grouped(last.tokens));
    report.facts.emplace_back("Training time", last.seconds < 120
                                                   ? fmt::format("{:.0f} s", last.seconds)
                                                   : fmt::format("{:.0f} min", last.seconds / 60));
  }
  add_perplexity(run.root, report);
  for (const fs::path& gates : sorted_entries(run.gates())) {
    if (fs::is_directory(gates)) add_perplexity(gates, report);
  }
}

void add_gates(const fs::path& folder, Report& report) {
  const fs::path file = folder / "config.json";
  if (fs::exists(file)) {
    const nlohmann::json config = read_json_file(file);
    const auto add = [&](const char* key, const char* name) {
      if (!config.is_object() || !config.contains(key)) return;
      const nlohmann::json& value = config.at(key);
      report.facts.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
    };
    add("base_model", "Model");
    add("seerattn_gate_type", "Gate type");
    if (config.is_object() && config.contains(kOurGate) && config.at(kOurGate).is_object()) {
      nlohmann::json ours = config.at(kOurGate);
      ours.erase("note");
      report.facts.emplace_back("Beyond the published type", ours.dump());
    }
    add("seerattn_gate_block_size", "Block size");
    add("seerattn_sparsity_method", "Selection");
  }
  add_perplexity(folder, report);
}

/// The run that a gates folder is of, RUN/gates/NAME: it exports there again, and its own folder is read as well.
std::optional<std::string> run_of(const fs::path& gates) {
  const fs::path run = gates.parent_path().parent_path();
  if (gates.parent_path().filename() != "gates" || run.empty() || folder_kind(run) != FolderKind::kRun)
    return std::nullopt;
  return run.string();
}

}  // namespace

Report collect_report(const fs::path& folder) {
  if (!fs::exists(folder)) fail("{} does not exist", folder.string());
  Report report{.subject = folder.lexically_normal().string()};
  if (report.subject.size() > 1 && report.subject.back() == '/') report.subject.pop_back();
  report.evaluations = report.subject;
  switch (fs::is_directory(folder) ? folder_kind(folder) : FolderKind::kOther) {
    case FolderKind::kRun:
      add_run(RunPaths{folder}, report);
      break;
    case FolderKind::kGates:
      report.evaluations = run_of(report.subject).value_or(report.evaluations);
      add_gates(folder, report);
      break;
    default:
      fail("{} is {}: expected the folder of a run (metrics.jsonl) or of gates (attn_gate_weights.*)",
           folder.string(), describe_path(folder));
  }
  return report;
}

}  // namespace seer::report
