#include <algorithm>

#include <fmt/format.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/perplexity.h"

namespace seer {
namespace {

std::vector<ScoringMethod> methods_of(const EvalPerplexityOptions& options) {
  std::vector<std::string> names = options.methods;
  if (names.empty()) {
    if (!options.model.gates.empty()) names.emplace_back("gate");
    names.insert(names.end(), {"window", "oracle"});
  }
  std::vector<ScoringMethod> methods;
  for (const std::string& name : names) {
    methods.push_back(parse_scoring_method(name));
    if (methods.back().kind == ScoringMethod::Kind::kGate && options.model.gates.empty())
      fail_usage("--methods gate needs --gates: a folder with trained gates");
  }
  return methods;
}

}  // namespace

int eval_perplexity_command(const EvalPerplexityOptions& options) {
  const std::vector<ScoringMethod> methods = methods_of(options);
  SelectionFlags selection = options.selection;
  if (!selection.any()) selection.densities = {0.1, 0.2, 0.3, 0.5};
  const std::vector<SelectionRule> rules = selection.rules();
  EvalModel model(options.model, *std::max_element(options.lengths.begin(), options.lengths.end()));
  log::info("{} on {}: {} layers, blocks of {}", options.model.model, model.backend().name(),
            model.config().num_layers, model.block_size());
  const std::vector<std::vector<int32_t>> documents = held_out_documents(options.held_out, model);

  std::vector<PerplexityResult> results;
  for (const int64_t length : options.lengths) {
    PerplexityOptions measured{.windows = held_out_windows(options.held_out, model, documents, length),
                               .methods = methods,
                               .rules = rules,
                               .values = {},
                               .dense_layers = selection.dense_layers,
                               .recall = !options.no_recall};
    if (!selection.values_file.empty())
      measured.values = read_head_values(selection.values_file, model.config());
    if (selection.calibrated) measured.values = calibrated_thresholds(options.model.gates, model.config());
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
