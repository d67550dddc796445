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

/// Every method with every rule; of one threshold by head there is one rule.
std::vector<AttentionPlan> plans_of(const EvalPerplexityOptions& options, const EvalModel& model) {
  std::vector<std::string> methods = options.methods;
  SelectionFlags selection = options.selection;
  if (methods.empty()) {
    if (model.gates() != nullptr) methods.emplace_back("gate");
    if (!selection.by_head()) methods.insert(methods.end(), {"window", "oracle"});
  }
  if (!selection.any()) selection.densities = {0.1, 0.2, 0.3, 0.5};
  std::vector<AttentionPlan> plans;
  for (const std::string& method : methods) {
    for (const SelectionRule& rule : selection.rules())
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

  std::vector<PerplexityResult> results;
  for (const int64_t length : options.lengths) {
    const PerplexityOptions measured{.windows = held_out_windows(options.held_out, model, documents, length),
                                     .plans = plans,
                                     .recall = !options.no_recall};
    results.push_back(measure_perplexity(model, measured));
  }
  fmt::print("{}", perplexity_table(results));
  if (!options.json.empty()) {
    write_file_atomically(
        options.json,
        perplexity_json(model, fmt::format("{}", fmt::join(options.held_out.data, ",")), results));
    fmt::print("written to {}\n", options.json);
  }
  return 0;
}

}  // namespace seer
