#include "src/core/error.h"
#include "src/sparse/sparse_layer.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/perplexity.h"

namespace seer {
namespace {

using Kind = ScoringMethod::Kind;

/// Rules that look at probabilities want scores that are some.
void check_rule(const ScoringMethod& method, SelectBy by) {
  const bool meaningless = method.kind == Kind::kWindow || method.kind == Kind::kRandom;
  const bool not_normalised = method.kind == Kind::kAntidiagonal && by == SelectBy::kThreshold;
  const bool looks_at_p = by == SelectBy::kThreshold || by == SelectBy::kTopP;
  if (!looks_at_p || !(meaningless || not_normalised)) return;
  fail_usage("method {} has no probabilities that a {} could be compared with: give it {}", to_string(method),
             name_of(by),
             meaningless ? "a --density or --token-budget" : "a --density, --token-budget or --block-top-p");
}

/// Whether the flags give this method a value for each head: a file does for all of them, calibration for the gate.
bool by_head(const ScoringMethod& method, const SelectionFlags& selection) {
  return !selection.values_file.empty() || (selection.calibrated && method.kind == Kind::kGate);
}

}  // namespace

void check_choices(const std::vector<std::string>& methods, const SelectionFlags& selection) {
  const std::vector<SelectionRule> rules = selection.rules();
  if (selection.calibrated && !selection.values_file.empty())
    fail_usage("--values and --calibrated: give one");
  if (!selection.values_file.empty() && !rules.empty())
    fail_usage("--values is the rule of every method: leave the others out");
  for (const std::string& name : methods) {
    const ScoringMethod method = parse_scoring_method(name);
    if (by_head(method, selection)) continue;
    for (const SelectionRule& rule : rules) check_rule(method, rule.by);
  }
}

AttentionPlan plan_of(const EvalModelOptions& model, const std::string& method,
                      const SelectionFlags& selection, const SelectionRule& rule, const GateSet* gates,
                      const ModelConfig& config) {
  AttentionPlan plan;
  plan.method = parse_scoring_method(method);
  plan.rule = rule;
  plan.dense_layers = selection.dense_layers;
  if (plan.method->kind == Kind::kGate && gates == nullptr)
    fail_usage("method gate needs --gates: a folder with trained gates");
  if (by_head(*plan.method, selection)) {
    HeadValues read = selection.calibrated ? calibrated_thresholds(model.gates, config)
                                           : read_head_values(selection.values_file, config);
    plan.rule = selection.with_forced(read.rule);
    plan.values = std::move(read.values);
  }
  check_rule(*plan.method, plan.rule.by);
  plan.rule = rule_for(*plan.method, plan.rule);
  return plan;
}

std::vector<SelectionRule> rules_for(const std::string& method, const SelectionFlags& selection,
                                     const GateSet* gates) {
  if (by_head(parse_scoring_method(method), selection)) return {SelectionRule{}};  // plan_of() reads it
  std::vector<SelectionRule> rules = selection.rules();
  if (!rules.empty()) return rules;
  if (gates == nullptr || selection.calibrated)
    fail_usage("method {} needs a --density, --threshold, --token-budget or --block-top-p", method);
  return {selection.with_forced(rule_of(gates->entry()))};
}

SelectionRule one_rule_for(const std::string& method, const SelectionFlags& selection, const GateSet* gates) {
  const std::vector<SelectionRule> rules = rules_for(method, selection, gates);
  if (rules.size() > 1) fail_usage("one rule was expected, {} were given", rules.size());
  return rules.front();
}

std::string rule_text(const AttentionPlan& plan) {
  const SelectionRule& rule = plan.rule;
  std::string text = plan.values.empty() ? fmt::format("{} {}", name_of(rule.by), rule.value)
                                         : fmt::format("{} by head", name_of(rule.by));
  const auto add = [&](const char* name, int64_t value) {
    if (value > 0) text += fmt::format(", {} {}", name, value);
  };
  add("sink", rule.sink_blocks);
  add("local", rule.local_blocks);
  add("least", rule.min_blocks);
  add("dense rows", rule.dense_last_rows);
  add("dense layers", plan.dense_layers);
  const bool oracle = plan.method && plan.method->kind == Kind::kOracle;  // keeps none besides, always
  if (!rule.always_diagonal && !oracle) text += ", no diagonal";
  return text;
}

}  // namespace seer
