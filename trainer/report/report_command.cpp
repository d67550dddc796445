#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "trainer/eval/block_maps.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/plans.h"
#include "trainer/folder_kind.h"
#include "trainer/output_path.h"
#include "trainer/report/page.h"
#include "trainer/report/report_files.h"
#include "trainer/run_folder.h"
#include "trainer/version.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

/// The gates that maps are made of: the folder itself, or the one entry of a run, or the one that was named.
std::string gates_of(const ReportOptions& options) {
  if (folder_kind(options.source) != FolderKind::kRun) return options.source;
  const fs::path all = RunPaths{options.source}.gates();
  if (!options.gate.empty()) return (all / options.gate).string();
  std::vector<std::string> found;
  if (fs::exists(all)) {
    for (const auto& entry : fs::directory_iterator(all)) {
      if (entry.is_directory()) found.push_back(entry.path().filename().string());
    }
  }
  std::sort(found.begin(), found.end());
  if (found.empty()) fail("{} holds no gates yet: the run has not ended, or was not exported", all.string());
  if (found.size() > 1)
    fail_usage("the run has several gates ({}): name one with --gate", fmt::join(found, ", "));
  return (all / found.front()).string();
}

/// In a run's folder; beside a gates folder, which holds nothing but gates.
std::string default_page(const fs::path& source) {
  if (folder_kind(source) == FolderKind::kRun) return (source / "report.html").string();
  return without_trailing_slash(source).string() + "-report.html";
}

/// What cannot be, said before anything is computed.
void check_flags(const ReportOptions& options) {
  const SelectionFlags& selection = options.selection;
  if (options.model.model.empty() != options.held_out.data.empty())
    fail_usage("maps of the attention need --model and --data, both");
  if (options.model.model.empty() &&
      (selection.any_rule() || selection.any_forced() || !options.heads.empty() || !options.gate.empty()))
    fail_usage("--heads, --gate and the rule say what maps of the attention show: add --model and --data");
  check_output_path("--out", options.out);
}

std::vector<report::BlockMap> maps_of(const ReportOptions& options) {
  EvalModelOptions opened = options.model;
  opened.gates = gates_of(options);
  const ModelConfig config = load_model_config(opened.model);
  const std::vector<int32_t> text =
      held_out_sequence(options.held_out, config, open_tokenizer(opened.model, config), options.length);
  const AttentionPlan plan = one_plan_of(opened, config, options.selection, "gate");
  hint_at_length({plan}, options.length);
  EvalModel model(opened, options.length);
  const std::vector<HeadPlace> heads = parse_heads(options.heads, model.config());
  return compute_block_maps(model, text, plan, heads);
}

}  // namespace

int report_command(const ReportOptions& options) {
  check_flags(options);
  report::Report report = report::collect_report(options.source);
  if (!options.model.model.empty()) report.maps = maps_of(options);
  if (report.empty()) {
    fail(
        "{} has nothing to show yet: neither a metrics.jsonl with lines in it (`seer-train train`) nor an "
        "eval-ppl*.json (`seer-train eval ppl`); --model and --data add maps of the attention",
        options.source);
  }
  const std::string version = version_text();
  report.generator = "Written by " + version.substr(0, version.find('\n'));
  const std::string out = options.out.empty() ? default_page(options.source) : options.out;
  write_file_atomically(out, report::render_page(report));
  fmt::print("{}\n", out);
  return 0;
}

}  // namespace seer
