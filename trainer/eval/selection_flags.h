// How commands are told which blocks to keep.
#pragma once

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
  std::string values_file;  ///< Thresholds by layer and head, as `calibrate` writes them
  bool calibrated = false;  ///< Those of the gates folder's config.json
  bool last_block_dense = false;
  bool no_diagonal = false;
  int64_t sink_blocks = 0;
  int64_t local_blocks = 0;
  int64_t min_blocks = 0;
  int64_t dense_layers = 0;

  /// Whether a rule was asked for.
  bool any() const;
  /// Whether every head has a threshold of its own.
  bool by_head() const { return calibrated || !values_file.empty(); }
  /// One for each value that was given; throws a usage Error naming the flag of a value out of range.
  std::vector<SelectionRule> rules() const;
};

/// The rule that the config.json of `gates` asks for.
SelectionRule rule_of(const GateEntryConfig& gates);

/// Numbers by layer and head: the key "thresholds" of a JSON object, [layers][heads] in [0, 1). Throws Error naming file
/// and place.
std::vector<std::vector<float>> read_head_values(const std::string& file, const ModelConfig& model);

/// The thresholds by layer and head that `calibrate` wrote into the config.json of `gates`.
std::vector<std::vector<float>> calibrated_thresholds(const std::string& gates, const ModelConfig& model);

}  // namespace seer
