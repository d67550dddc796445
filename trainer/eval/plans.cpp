#include "trainer/eval/plans.h"

#include <algorithm>
#include <optional>
#include <span>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/checksum.h"
#include "src/sparse/sparse_layer.h"
#include "trainer/eval/provenance.h"
#include "trainer/gates_folder.h"

namespace seer {
namespace {

using Kind = ScoringMethod::Kind;

/// Rules that look at probabilities want scores that are some.
bool can_follow(const ScoringMethod& method, SelectBy by) {
  switch (method.kind) {
    case Kind::kWindow:
    case Kind::kRandom:
      return by == SelectBy::kNzRatio || by == SelectBy::kTokenBudget;
    case Kind::kAntidiagonal:  // rows of sums that do not add up to 1
      return by != SelectBy::kThreshold;
    default:
      return true;
  }
}

void check_rule(const ScoringMethod& method, SelectBy by) {
  if (can_follow(method, by)) return;
  fail_usage("method {} has no probabilities that a {} could be compared with: give it {}", to_string(method),
             name_of(by),
             can_follow(method, SelectBy::kTopP) ? "a --density, --token-budget or --block-top-p"
                                                 : "a --density or --token-budget");
}

class Planner {
 public:
  Planner(const EvalModelOptions& model, const ModelConfig& config, const SelectionFlags& selection)
      : model_(model), config_(config), selection_(selection), given_(selection.rules()) {
    if (selection.last_block_dense && selection.dense_last_rows)
      fail_usage("--last-block-dense is --dense-last-rows 2: give one");
    if (selection.calibrated && !selection.values_file.empty())
      fail_usage("--values and --calibrated: give one");
    if (!selection.values_file.empty() && !given_.empty())
      fail_usage("--values is the rule of every method: leave the others out");
    if (!model.gates.empty()) gates_ = read_gate_entry(model.gates);
  }

  void add(const std::string& name) {
    const ScoringMethod method = parse_scoring_method(name);
    if (method.kind == Kind::kGate && !gates_)
      fail_usage("method gate needs --gates: a folder with trained gates");
    if (by_head(method)) return add_by_head(method);
    const std::vector<SelectionRule> rules = rules_of();
    if (rules.empty())
      fail_usage("method {} needs a --density, --threshold, --token-budget or --block-top-p", name);
    for (const SelectionRule& rule : rules) {
      check_rule(method, rule.by);
      add(method, rule);
    }
  }

  void add_if_it_has_a_rule(const std::string& name) {
    const ScoringMethod method = parse_scoring_method(name);
    if (by_head(method)) return;
    for (const SelectionRule& rule : rules_of()) {
      if (can_follow(method, rule.by)) add(method, rule);
    }
  }

  std::vector<AttentionPlan> take() {
    if (plans_.empty() && (selection_.any_rule() || selection_.any_forced()))
      fail_usage(
          "the flags choose blocks, and a dense prefill has no choice: give --gates, or a method that "
          "chooses");
    if (!given_.empty() && !given_is_used_)
      fail_usage(
          "every method has values by head already (--values, --calibrated): leave --density and other rules "
          "out, or add a method for them where there are --methods");
    return std::move(plans_);
  }

 private:
  /// Whether the flags give this method a value for each head: a file does for all of them, calibration for the gate.
  bool by_head(const ScoringMethod& method) const {
    return !selection_.values_file.empty() || (selection_.calibrated && method.kind == Kind::kGate);
  }

  std::vector<SelectionRule> rules_of() {
    given_is_used_ |= !given_.empty();
    if (!given_.empty() || !gates_ || selection_.calibrated) return given_;
    const SelectionRule rule = rule_of(*gates_);
    const bool keeps_all = rule.by == SelectBy::kNzRatio ? rule.value == 1 : rule.value == 0;
    if (keeps_all && plans_.empty())  // once for all methods
      log::warn("{}/config.json asks for {} {}, which keeps every block: give --density, say", model_.gates,
                name_of(rule.by), rule.value);
    return {selection_.with_forced(rule)};
  }

  void add_by_head(const ScoringMethod& method) {
    HeadValues read = selection_.calibrated ? calibrated_thresholds(model_.gates, config_)
                                            : read_head_values(selection_.values_file, config_);
    check_rule(method, read.rule.by);
    if (selection_.calibrated || !read.gates_checksum.empty()) check_calibration(method, read);
    add(method, selection_.with_forced(read.rule), std::move(read.values));
    plans_.back().calibrated_length = read.calibrated_length;
  }

  /// Refuses thresholds that were found for something else, and flags that would keep less than they were found with.
  void check_calibration(const ScoringMethod& method, const HeadValues& found) const {
    const std::string source =
        selection_.calibrated ? "--calibrated" : fmt::format("--values {}", selection_.values_file);
    if (method.kind != Kind::kGate)
      fail_usage(
          "{}: `calibrate` found these thresholds for the probabilities of a gate: they are no rule for "
          "method {}: name --methods gate alone, or give another rule",
          source, to_string(method));
    // Builds before 2026-11-30 did not say whose they are.
    if (!found.gates_checksum.empty() && found.gates_checksum != gates_checksum(model_.gates))
      fail_usage("{}: the thresholds are for other weights than those of the gates in {}: calibrate again",
                 source, model_.gates);
    const auto check = [&](const char* flag, std::optional<int64_t> asked, int64_t kept) {
      if (asked && *asked < kept)
        fail_usage("{} {}: the thresholds of {} were found with {} kept: calibrate with {} {}", flag, *asked,
                   source, kept, flag, *asked);
    };
    check("--sink-blocks", selection_.sink_blocks, found.rule.sink_blocks);
    check("--local-blocks", selection_.local_blocks, found.rule.local_blocks);
    if (selection_.no_diagonal && found.rule.always_diagonal)
      fail_usage(
          "--no-diagonal: the thresholds of {} were found with the diagonal kept: calibrate with "
          "--no-diagonal",
          source);
  }

  void add(const ScoringMethod& method, const SelectionRule& rule,
           std::vector<std::vector<float>> values = {}) {
    plans_.push_back({.method = method,
                      .rule = rule_for(method, rule),
                      .dense_layers = selection_.dense_layers,
                      .values = std::move(values)});
  }

  const EvalModelOptions& model_;
  const ModelConfig& config_;
  const SelectionFlags& selection_;
  std::vector<SelectionRule> given_;
  bool given_is_used_ = false;
  std::optional<GateEntryConfig> gates_;
  std::vector<AttentionPlan> plans_;
};

uint32_t checksum_of(const std::vector<std::vector<float>>& values) {
  Crc32 crc;
  for (const std::vector<float>& layer : values) crc.add(std::as_bytes(std::span(layer)));
  return crc.value();
}

}  // namespace

std::vector<AttentionPlan> plans_of(const EvalModelOptions& model, const ModelConfig& config,
                                    const SelectionFlags& selection, const std::vector<std::string>& methods,
                                    const std::vector<std::string>& besides) {
  Planner planner(model, config, selection);
  for (const std::string& method : methods) planner.add(method);
  for (const std::string& method : besides) planner.add_if_it_has_a_rule(method);
  return planner.take();
}

void hint_at_bos(const Tokenizer* tokenizer, const std::vector<AttentionPlan>& plans) {
  if (tokenizer == nullptr || !tokenizer->bos_id()) return;
  const bool any = std::any_of(plans.begin(), plans.end(), [](const AttentionPlan& plan) {
    return plan.method && plan.method->kind == Kind::kGate && plan.rule.sink_blocks == 0;
  });
  if (any)
    log::info(
        "texts begin with BOS, which gates trained on joined sequences have seldom met: --sink-blocks 1 "
        "keeps it");
}

bool hint_at_length(const std::vector<AttentionPlan>& plans, int64_t tokens) {
  constexpr double kFar = 1.5;
  for (const AttentionPlan& plan : plans) {
    const auto found = static_cast<double>(plan.calibrated_length);
    const auto used = static_cast<double>(tokens);
    if (plan.calibrated_length == 0 || (used <= kFar * found && found <= kFar * used)) continue;
    log::warn(
        "thresholds that were calibrated at {} tokens keep another share of the blocks at {}: a row's "
        "probabilities are of more or fewer blocks. Calibrate at the length that is used (--seq)",
        plan.calibrated_length, tokens);
    return true;  // once for all plans
  }
  return false;
}

void follow_config(const std::string& gates, const SelectionFlags& selection,
                   std::vector<AttentionPlan>& plans) {
  if (gates.empty() || selection.dense_last_rows) return;
  const int64_t rows = rule_of(read_gate_entry(gates)).dense_last_rows;
  for (AttentionPlan& plan : plans) {
    if (plan.method && plan.values.empty())
      plan.rule.dense_last_rows = std::max(plan.rule.dense_last_rows, rows);
  }
}

AttentionPlan one_plan_of(const EvalModelOptions& model, const ModelConfig& config,
                          const SelectionFlags& selection, const std::string& method) {
  std::vector<AttentionPlan> plans = plans_of(model, config, selection, {method});
  if (plans.size() > 1) fail_usage("one rule was expected, {} were given", plans.size());
  follow_config(model.gates, selection, plans);
  return plans.front();
}

std::string rule_text(const AttentionPlan& plan) {
  const SelectionRule& rule = plan.rule;
  const bool is_oracle = plan.method && plan.method->kind == Kind::kOracle;
  std::string text = plan.values.empty()
                         ? fmt::format("{} {}", name_of(rule.by), rule.value)
                         : fmt::format("{} by head {:08x}", name_of(rule.by), checksum_of(plan.values));
  const auto add = [&](const char* name, int64_t value) {
    if (value > 0) text += fmt::format(", {} {}", name, value);
  };
  add("sink", rule.sink_blocks);
  add("local", rule.local_blocks);
  add("least", rule.min_blocks);
  add("dense rows", rule.dense_last_rows);
  add("dense layers", plan.dense_layers);
  if (!rule.always_diagonal && !is_oracle) text += ", no diagonal";  // the oracle never keeps one besides
  return text;
}

}  // namespace seer
