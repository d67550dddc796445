// What a report shows, as plain structs: no model, no backend. Every part may be missing.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/metrics_log.h"

namespace seer::report {

/// How one gate entry of a run learnt, step by step.
struct GateCurves {
  std::string name;
  std::string description;  ///< "Qavg_Kmaxminavg, block 64"; empty if the run's config is not there
  std::vector<int64_t> steps;
  std::vector<double> loss;                       ///< Of each step: the layers' sum, scaled
  std::vector<std::vector<double>> layer_losses;  ///< [steps][layers]
  std::vector<EvalMetrics> evals;                 ///< In order of their steps
};

/// How blocks were chosen at one setting, and what that cost and brought. What could not be measured is NaN, or empty.
struct PerplexityRow {
  std::string method;  ///< gate, oracle, or a training-free baseline: minmax, mean, window, ...
  std::string rule;    ///< nz_ratio, threshold, token_budget or top_p
  double value = 0;    ///< The rule's parameter; NaN: every head has its own
  std::string label;   ///< "nz_ratio 0.1, sink 1": with what is kept besides
  double density = 0;  ///< Kept share of the causal blocks
  double perplexity = 0;
  double change = 0;  ///< perplexity / dense perplexity - 1
  double recall = 0;  ///< Share of the true attention mass on kept blocks
  double prefill_seconds = 0;
  double speedup = 0;                                ///< Of the prefill, against dense
  std::vector<std::vector<double>> density_by_head;  ///< [layers][heads]
  std::vector<std::vector<double>> recall_by_head;   ///< [layers][heads]
};

/// Windows of one length.
struct PerplexityLength {
  int64_t length = 0;  ///< Tokens of a window
  int64_t windows = 0;
  double dense_perplexity = 0;
  double dense_prefill_seconds = 0;
  std::vector<PerplexityRow> rows;
};

/// One perplexity evaluation (a file of `seer-train eval ppl`).
struct Perplexity {
  std::string source;  ///< Where it was read
  std::string model, gates, data, device, gate_type;
  std::string gate_form;  ///< What the type does not say: "key_pieces 4, distance_bias"; or empty
  int64_t block_size = 0;
  std::vector<PerplexityLength> lengths;
};

/// One head's attention over blocks, on one text: [blocks, blocks] row-major, row = query block, lower triangle.
struct BlockMap {
  int64_t layer = 0;
  int64_t head = 0;
  int64_t blocks = 0;
  int64_t block_size = 0;     ///< Tokens
  std::vector<float> target;  ///< Ground truth: each row sums to 1
  std::vector<float> gate;    ///< The gate's probabilities: each row sums to 1
  std::vector<uint8_t> kept;  ///< 1 where the gate's selection keeps the block
  double density = 0;
  double recall = 0;
};

struct Report {
  std::string subject;                                     ///< The folder that was asked about
  std::string evaluations;                                 ///< The folder whose eval-ppl*.json are shown
  std::string generator;                                   ///< Program and version
  std::vector<std::pair<std::string, std::string>> facts;  ///< Model, data, steps: name and value
  std::vector<GateCurves> training;
  std::vector<Perplexity> perplexity;
  std::vector<BlockMap> maps;

  bool empty() const { return training.empty() && perplexity.empty() && maps.empty(); }
};

}  // namespace seer::report
