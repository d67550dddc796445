// How commands are told which blocks to keep.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "src/ops/sparse_args.h"
#include "src/sparse/scoring_method.h"
#include "trainer/eval/gate_set.h"

namespace seer {

struct SelectionFlags {
  std::vector<double> densities;  ///< nz_ratio
  std::vector<double> thresholds;
  std::vector<double> token_budgets;
  std::vector<double> top_p;
  std::string values_file;  ///< A rule's values by layer and head
  bool calibrated =
      false;  ///< The gate's thresholds that `calibrate` wrote into the gates folder's config.json
  bool last_block_dense = false;
  std::optional<int64_t> dense_last_rows;
  bool no_diagonal = false;
  std::optional<int64_t> sink_blocks;
  std::optional<int64_t> local_blocks;
  int64_t min_blocks = 0;
  int64_t dense_layers = 0;

  /// Whether a rule was asked for, by value or by head.
  bool any_rule() const;
  /// Whether blocks, rows or layers were asked for that are kept, or not, whatever the rule.
  bool any_forced() const;
  /// Whether every head has a value of its own.
  bool by_head() const { return calibrated || !values_file.empty(); }
  /// One for each value that was given; throws a usage Error naming the flag of a value out of range.
  std::vector<SelectionRule> rules() const;
  /// `rule`, which keeps besides what these flags force.
  SelectionRule with_forced(SelectionRule rule) const;
};

/// "nz_ratio", "threshold", "token_budget", "top_p"
std::string name_of(SelectBy by);

/// The rule that the config.json of `gates` asks for.
SelectionRule rule_of(const GateEntryConfig& gates);

/// A value of a rule for each layer and head.
struct HeadValues {
  SelectionRule rule;                      ///< `by`, and what is kept whatever the values
  std::vector<std::vector<float>> values;  ///< [layers][heads]
  /// Of what `calibrate` found: gates_checksum() of the gates whose probabilities they are, tokens of the sequences read.
  std::string gates_checksum = {};
  int64_t calibrated_length = 0;
};

/// From a JSON object: {"rule": "nz_ratio", "values": [[..], ..]}, or as `calibrate` writes it, {"thresholds": [[..], ..]}.
/// Throws Error naming file and place.
HeadValues read_head_values(const std::string& file, const ModelConfig& model);

/// Keys of what `calibrate` writes beside the thresholds: the gates_checksum() of what they are for, and how they were found.
inline constexpr const char* kThresholdsOf = "gates_checksum";
inline constexpr const char* kTarget = "target";
inline constexpr const char* kTargetLength = "seq";

/// What `calibrate` wrote into the config.json of `gates`.
HeadValues calibrated_thresholds(const std::string& gates, const ModelConfig& model);

/// The JSON object that both read.
std::string to_json(const HeadValues& calibrated);

}  // namespace seer
