#include "src/core/error.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/perplexity.h"

namespace seer {

void check_choices(const std::vector<std::string>& methods, const SelectionFlags& selection) {
  for (const std::string& method : methods) (void)parse_scoring_method(method);
  (void)selection.rules();
}

AttentionPlan plan_of(const EvalModelOptions& model, const std::string& method,
                      const SelectionFlags& selection, const SelectionRule& rule, const GateSet* gates,
                      const ModelConfig& config) {
  AttentionPlan plan;
  plan.method = parse_scoring_method(method);
  plan.rule = rule;
  plan.dense_layers = selection.dense_layers;
  const bool by_gate = plan.method->kind == ScoringMethod::Kind::kGate;
  if (by_gate && gates == nullptr) fail_usage("method gate needs --gates: a folder with trained gates");
  if (selection.by_head()) {
    if (!by_gate)
      fail_usage("--values and --calibrated are thresholds of a gate: method {} has none", method);
    plan.values = selection.calibrated ? calibrated_thresholds(model.gates, config)
                                       : read_head_values(selection.values_file, config);
  }
  return plan;
}

std::vector<SelectionRule> rules_for(const std::string& method, const SelectionFlags& selection,
                                     const GateSet* gates) {
  std::vector<SelectionRule> rules = selection.rules();
  if (!rules.empty()) return rules;
  if (gates == nullptr)
    fail_usage("method {} needs a --density, --threshold, --token-budget or --block-top-p", method);
  return {rule_of(gates->entry())};
}

SelectionRule one_rule_for(const std::string& method, const SelectionFlags& selection, const GateSet* gates) {
  const std::vector<SelectionRule> rules = rules_for(method, selection, gates);
  if (rules.size() > 1) fail_usage("one rule was expected, {} were given", rules.size());
  return rules.front();
}

std::string rule_text(const AttentionPlan& plan) {
  if (!plan.values.empty()) return fmt::format("{} by head", name_of(plan.rule.by));
  return fmt::format("{} {:g}", name_of(plan.rule.by), plan.rule.value);
}

}  // namespace seer
