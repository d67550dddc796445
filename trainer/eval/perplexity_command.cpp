#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/perplexity.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

/// Every method with every rule.
std::vector<AttentionPlan> plans_of(const EvalPerplexityOptions& options, const EvalModel& model) {
  std::vector<std::string> methods = options.methods;
  SelectionFlags selection = options.selection;
  if (methods.empty()) {
    if (model.gates() != nullptr) methods.emplace_back("gate");
    // Values by head are the gate's as a rule: others join where they have rules of their own.
    if (!selection.by_head() || !selection.rules().empty())
      methods.insert(methods.end(), {"window", "oracle"});
    if (methods.empty()) fail_usage("--values without --gates: say with --methods whose they are");
  }
  if (!selection.any_rule()) selection.densities = {0.1, 0.2, 0.3, 0.5};
  std::vector<AttentionPlan> plans;
  for (const std::string& method : methods) {
    for (const SelectionRule& rule : rules_for(method, selection, model.gates()))
      plans.push_back(plan_of(options.model, method, selection, rule, model.gates(), model.config()));
  }
  return plans;
}

}  // namespace

int eval_perplexity_command(const EvalPerplexityOptions& options) {
  check_choices(options.methods, options.selection);
  const fs::path folder = fs::path(options.json).parent_path();
  if (!folder.empty() && !fs::is_directory(folder))
    fail_usage("--json {}: there is no folder {}", options.json, folder.string());
  EvalModel model(options.model, *std::max_element(options.lengths.begin(), options.lengths.end()));
  log::info("{} on {}: {} layers, blocks of {}", options.model.model, model.backend().name(),
            model.config().num_layers, model.block_size());
  const std::vector<AttentionPlan> plans = plans_of(options, model);
  const std::vector<std::vector<int32_t>> documents = held_out_documents(options.held_out, model);

  std::vector<PerplexityOptions> measured;  // all of them first: a text that is too short is told at once
  for (const int64_t length : options.lengths) {
    measured.push_back({.windows = held_out_windows(options.held_out, model, documents, length),
                        .plans = plans,
                        .recall = !options.no_recall});
  }
  std::vector<PerplexityResult> results;
  for (const PerplexityOptions& length : measured) {
    results.push_back(measure_perplexity(model, length));
    // A failure at a longer length does not lose what was measured.
    if (!options.json.empty())
      write_file_atomically(options.json, perplexity_json(model, options.held_out, results));
  }
  fmt::print("{}", perplexity_table(results));
  if (!options.json.empty()) fmt::print("written to {}\n", options.json);
  return 0;
}

}  // namespace seer
