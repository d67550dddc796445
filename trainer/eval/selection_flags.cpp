#include "trainer/eval/selection_flags.h"

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/json_file.h"
#include "trainer/gates_folder.h"

namespace seer {
namespace {

void add_values(std::vector<SelectionRule>& rules, const SelectionRule& common, SelectBy by,
                const std::vector<double>& values, const char* flag, double most) {
  const bool zero = by == SelectBy::kThreshold;  // keeps whatever has a probability at all
  for (const double value : values) {
    if (!(value >= 0 && value <= most) || (value == 0 && !zero))
      fail_usage("{} {}: a value {} 0 and up to {} was expected", flag, value, zero ? "from" : "above", most);
    rules.push_back(common);
    rules.back().by = by;
    rules.back().value = value;
  }
}

std::vector<std::vector<float>> head_values(const std::string& file, const char* key,
                                            const ModelConfig& model) {
  const nlohmann::json json = read_json_file(file);
  const auto layers = json.find(key);
  const auto wrong = [&](const std::string& what) {
    fail("{}: {}: \"{}\" with {} layers of {} numbers in [0, 1) was expected", file, what, key,
         model.num_layers, model.num_heads);
  };
  if (layers == json.end() || !layers->is_array()) wrong("no such array (`seer-train calibrate` writes it)");
  if (static_cast<int64_t>(layers->size()) != model.num_layers)
    wrong(fmt::format("{} layers", layers->size()));
  std::vector<std::vector<float>> values;
  for (const auto& heads : *layers) {
    const std::string layer = fmt::format("layer {}", values.size());
    if (!heads.is_array() || static_cast<int64_t>(heads.size()) != model.num_heads)
      wrong(fmt::format("{} has {} entries", layer, heads.size()));
    values.emplace_back();
    for (const auto& value : heads) {
      if (!value.is_number() || value.get<double>() < 0 || value.get<double>() >= 1)
        wrong(fmt::format("{} has {}", layer, value.dump()));
      values.back().push_back(value.get<float>());
    }
  }
  return values;
}

}  // namespace

bool SelectionFlags::any() const {
  return !densities.empty() || !thresholds.empty() || !token_budgets.empty() || !top_p.empty() || by_head();
}

std::vector<SelectionRule> SelectionFlags::rules() const {
  SelectionRule common;
  common.always_diagonal = !no_diagonal;
  common.dense_last_rows = last_block_dense ? 2 : 0;
  common.sink_blocks = sink_blocks;
  common.local_blocks = local_blocks;
  common.min_blocks = min_blocks;
  std::vector<SelectionRule> rules;
  constexpr double kMostTokens = 1e9;
  add_values(rules, common, SelectBy::kNzRatio, densities, "--density", 1);
  add_values(rules, common, SelectBy::kThreshold, thresholds, "--threshold", 1);
  add_values(rules, common, SelectBy::kTokenBudget, token_budgets, "--token-budget", kMostTokens);
  add_values(rules, common, SelectBy::kTopP, top_p, "--block-top-p", 1);
  if (by_head()) {
    if (!rules.empty()) fail_usage("--values and --calibrated are rules of their own: leave the others out");
    rules.push_back(common);
    rules.back().by = SelectBy::kThreshold;
    rules.back().value = 0;
  }
  return rules;
}

SelectionRule rule_of(const GateEntryConfig& gates) {
  const GateExportConfig& config = gates.export_;
  SelectionRule rule;
  rule.dense_last_rows = config.last_block_dense ? 2 : 0;
  if (config.sparsity_method == "threshold") {
    rule.by = SelectBy::kThreshold;
    rule.value = config.threshold;
  } else if (config.sparsity_method == "nz_ratio") {
    rule.by = SelectBy::kNzRatio;
    rule.value = config.nz_ratio;
  } else {
    fail("the gates' config.json has seerattn_sparsity_method \"{}\": threshold or nz_ratio was expected",
         config.sparsity_method);
  }
  return rule;
}

std::vector<std::vector<float>> read_head_values(const std::string& file, const ModelConfig& model) {
  return head_values(file, "thresholds", model);
}

std::vector<std::vector<float>> calibrated_thresholds(const std::string& gates, const ModelConfig& model) {
  if (gates.empty()) fail_usage("--calibrated needs --gates: a folder that `calibrate` was run on");
  return head_values(gates + "/config.json", kCalibratedThresholds, model);
}

}  // namespace seer
