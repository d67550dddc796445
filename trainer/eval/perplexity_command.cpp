#include <algorithm>

#include <fmt/format.h>

#include "src/core/ceil_div.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/perplexity.h"
#include "trainer/eval/plans.h"
#include "trainer/output_path.h"

namespace seer {
namespace {

std::vector<AttentionPlan> plans_of_flags(const EvalPerplexityOptions& options, const ModelConfig& config) {
  SelectionFlags selection = options.selection;
  if (!selection.any_rule()) selection.densities = {0.1, 0.2, 0.3, 0.5};
  if (!options.methods.empty()) return plans_of(options.model, config, selection, options.methods);
  std::vector<std::string> gate;
  if (!options.model.gates.empty()) gate.emplace_back("gate");
  std::vector<AttentionPlan> plans = plans_of(options.model, config, selection, gate, {"window", "oracle"});
  if (plans.empty()) fail_usage("there is no one to choose blocks: give --gates or --methods");
  return plans;
}

/// What makes good gates look bad.
void give_hints(const EvalModel& model, const std::vector<AttentionPlan>& plans,
                const std::vector<int64_t>& lengths) {
  hint_at_bos(model.tokenizer(), plans);
  for (const int64_t length : lengths) {
    hint_at_length(plans, length);
    const int64_t blocks = ceil_div(length, model.block_size());
    for (const AttentionPlan& plan : plans) {
      const SelectionRule& rule = plan.rule;
      const bool counts = rule.by == SelectBy::kNzRatio || rule.by == SelectBy::kTokenBudget;
      const bool more = rule.sink_blocks > 0 || rule.local_blocks > 0 || rule.min_blocks > 1;
      if (!plan.values.empty() || !counts || more || blocks == 1) continue;
      if (blocks_a_row(rule.by, rule.value, blocks, model.block_size()) == 1) {
        log::warn("{} keeps one block a row at {} tokens: there is no choice to measure", rule_text(plan),
                  length);
        break;  // once for all methods
      }
    }
  }
}

}  // namespace

int eval_perplexity_command(const EvalPerplexityOptions& options) {
  check_output_path("--json", options.json);
  const ModelConfig config = load_model_config(options.model.model);
  const std::vector<AttentionPlan> plans = plans_of_flags(options, config);
  std::vector<int64_t> lengths = options.lengths;
  if (lengths.empty()) lengths = {default_length(config)};
  EvalModel model(options.model, *std::max_element(lengths.begin(), lengths.end()));
  log::info("{} on {}: {} layers, blocks of {}", options.model.model, model.backend().name(),
            model.config().num_layers, model.block_size());
  const std::vector<std::vector<int32_t>> documents = held_out_documents(options.held_out, model);

  std::vector<PerplexityOptions> measured;  // all of them first: a text that is too short is told at once
  measured.reserve(lengths.size());
  for (const int64_t length : lengths) {
    measured.push_back({.windows = held_out_windows(options.held_out, model, documents, length),
                        .plans = plans,
                        .recall = !options.no_recall});
  }
  give_hints(model, plans, lengths);
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
