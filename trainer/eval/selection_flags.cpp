#include "trainer/eval/selection_flags.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/json_file.h"
#include "trainer/gates_folder.h"

namespace seer {
namespace {

using Json = nlohmann::json;

constexpr double kMostTokens = 1e9;
constexpr const char* kThresholds = "thresholds";
constexpr const char* kForced = "forced";  // what calibrate counted as kept whatever the thresholds

struct RuleLimits {
  SelectBy by;
  const char* name;
  const char* flag;
  double most;
};

constexpr std::array<RuleLimits, 4> kRules = {
    {{SelectBy::kNzRatio, "nz_ratio", "--density", 1},
     {SelectBy::kThreshold, "threshold", "--threshold", 1},
     {SelectBy::kTokenBudget, "token_budget", "--token-budget", kMostTokens},
     {SelectBy::kTopP, "top_p", "--block-top-p", 1}}};

const RuleLimits& limits_of(SelectBy by) {
  return *std::find_if(kRules.begin(), kRules.end(), [by](const RuleLimits& rule) { return rule.by == by; });
}

/// 0 is a threshold alone: it keeps whatever has a probability at all.
bool in_range(SelectBy by, double value) {
  return value <= limits_of(by).most && (value > 0 || (value == 0 && by == SelectBy::kThreshold));
}

std::string range_text(SelectBy by) {
  return fmt::format("a value {} 0 and up to {}", by == SelectBy::kThreshold ? "from" : "above",
                     limits_of(by).most);
}

/// One object that holds a value for each layer and head.
class HeadValueReader {
 public:
  HeadValueReader(Json json, std::string where, const ModelConfig& model)
      : json_(std::move(json)), where_(std::move(where)), model_(model) {}

  HeadValues read() const {
    if (!json_.is_object()) fail("{}: an object with \"rule\" and \"values\" was expected", where_);
    HeadValues out;
    const bool thresholds = json_.contains(kThresholds);
    if (thresholds == json_.contains("values"))
      fail("{}: \"values\" with a \"rule\", or \"{}\", one of the two, was expected", where_, kThresholds);
    out.rule.by = thresholds ? SelectBy::kThreshold : rule();
    out.values = values(thresholds ? kThresholds : "values", out.rule.by);
    if (json_.contains(kForced)) read_forced(json_.at(kForced), out.rule);
    if (thresholds && json_.contains(kThresholdsOf)) read_calibration(out);
    return out;
  }

 private:
  SelectBy rule() const {
    const auto name = json_.find("rule");
    for (const RuleLimits& rule : kRules) {
      if (name != json_.end() && *name == rule.name) return rule.by;
    }
    fail("{}: \"rule\" is {}: nz_ratio, threshold, token_budget or top_p was expected", where_,
         name == json_.end() ? "missing" : name->dump());
  }

  std::vector<std::vector<float>> values(const char* key, SelectBy by) const {
    const Json& layers = json_.at(key);
    const auto wrong = [&](const std::string& what) {
      fail("{}: {}: \"{}\" with {} layers of {} numbers, each {}, was expected", where_, what, key,
           model_.num_layers, model_.num_heads, range_text(by));
    };
    if (!layers.is_array()) wrong("no array");
    if (static_cast<int64_t>(layers.size()) != model_.num_layers)
      wrong(fmt::format("{} layers", layers.size()));
    std::vector<std::vector<float>> values;
    for (const auto& heads : layers) {
      const std::string layer = fmt::format("layer {}", values.size());
      if (!heads.is_array() || static_cast<int64_t>(heads.size()) != model_.num_heads)
        wrong(fmt::format("{} has {} entries", layer, heads.size()));
      values.emplace_back();
      for (const auto& value : heads) {
        if (!value.is_number() || !in_range(by, value.get<double>()))
          wrong(fmt::format("{} has {}", layer, value.dump()));
        values.back().push_back(value.get<float>());
      }
    }
    return values;
  }

  void read_forced(const Json& forced, SelectionRule& rule) const {
    try {
      rule.sink_blocks = integer_at(forced, "sink_blocks", where_);
      rule.local_blocks = integer_at(forced, "local_blocks", where_);
      rule.always_diagonal = forced.at("always_diagonal").get<bool>();
    } catch (const Json::exception& error) {
      fail("{}: \"{}\" is not what `seer-train calibrate` writes: {}", where_, kForced, error.what());
    }
    if (rule.sink_blocks < 0 || rule.local_blocks < 0)
      fail("{}: \"{}\" has a negative number", where_, kForced);
  }

  void read_calibration(HeadValues& out) const {
    try {
      out.gates_checksum = json_.at(kThresholdsOf).get<std::string>();
      if (const auto target = json_.find(kTarget); target != json_.end())
        out.calibrated_length = integer_at(*target, kTargetLength, where_);
    } catch (const Json::exception& error) {
      fail("{}: \"{}\" or \"{}\" is not what `seer-train calibrate` writes: {}", where_, kThresholdsOf,
           kTarget, error.what());
    }
  }

  Json json_;
  std::string where_;
  const ModelConfig& model_;
};

}  // namespace

std::string name_of(SelectBy by) {
  return limits_of(by).name;
}

bool SelectionFlags::any_rule() const {
  return !densities.empty() || !thresholds.empty() || !token_budgets.empty() || !top_p.empty() || by_head();
}

bool SelectionFlags::any_forced() const {
  return last_block_dense || dense_last_rows.value_or(0) > 0 || no_diagonal || sink_blocks.value_or(0) > 0 ||
         local_blocks.value_or(0) > 0 || min_blocks > 0 || dense_layers > 0;
}

SelectionRule SelectionFlags::with_forced(SelectionRule rule) const {
  constexpr int64_t kLastBlockDense = 2;  // rows, as the published code has it
  rule.always_diagonal = rule.always_diagonal && !no_diagonal;
  if (dense_last_rows) rule.dense_last_rows = *dense_last_rows;
  if (last_block_dense) rule.dense_last_rows = std::max(rule.dense_last_rows, kLastBlockDense);
  rule.sink_blocks = std::max(rule.sink_blocks, sink_blocks.value_or(0));
  rule.local_blocks = std::max(rule.local_blocks, local_blocks.value_or(0));
  rule.min_blocks = std::max(rule.min_blocks, min_blocks);
  return rule;
}

std::vector<SelectionRule> SelectionFlags::rules() const {
  std::vector<SelectionRule> rules;
  const std::pair<SelectBy, const std::vector<double>&> given[] = {{SelectBy::kNzRatio, densities},
                                                                   {SelectBy::kThreshold, thresholds},
                                                                   {SelectBy::kTokenBudget, token_budgets},
                                                                   {SelectBy::kTopP, top_p}};
  for (const auto& [by, values] : given) {
    for (const double value : values) {
      if (!in_range(by, value))
        fail_usage("{} {}: {} was expected", limits_of(by).flag, value, range_text(by));
      SelectionRule rule;
      rule.by = by;
      rule.value = value;
      rules.push_back(with_forced(rule));
    }
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

HeadValues read_head_values(const std::string& file, const ModelConfig& model) {
  return HeadValueReader(read_json_file(file), file, model).read();
}

HeadValues calibrated_thresholds(const std::string& gates, const ModelConfig& model) {
  if (gates.empty()) fail_usage("--calibrated needs --gates: a folder that `calibrate` was run on");
  const std::string file = gates + "/config.json";
  const Json config = read_json_file(file);
  const auto found = config.find(kCalibratedThresholds);
  if (found == config.end()) {
    fail("{} has no \"{}\": `seer-train calibrate` writes it", file, kCalibratedThresholds);
  }
  Json calibrated = *found;
  if (calibrated.is_array()) calibrated = {{kThresholds, *found}};  // as builds before 2026-11-30 wrote it
  return HeadValueReader(std::move(calibrated), fmt::format("{}: {}", file, kCalibratedThresholds), model)
      .read();
}

std::string to_json(const HeadValues& calibrated) {
  SEER_CHECK(calibrated.rule.by == SelectBy::kThreshold, "calibration finds thresholds");
  const SelectionRule& rule = calibrated.rule;
  return Json{{kForced,
               {{"sink_blocks", rule.sink_blocks},
                {"local_blocks", rule.local_blocks},
                {"always_diagonal", rule.always_diagonal}}},
              {kThresholds, calibrated.values}}
      .dump(1);
}

}  // namespace seer
