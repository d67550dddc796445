// Perplexity, recall and prefill time of sparse models beside the dense one (SEMANTICS 9).
#pragma once

#include <string>
#include <vector>

#include "trainer/eval/held_out.h"
#include "trainer/eval/recall_pass.h"

namespace seer {

struct PerplexityOptions {
  std::vector<std::vector<int32_t>> windows;  ///< Token ids, all of one length
  std::vector<AttentionPlan> plans;           ///< Each with a method
  bool recall = true;
};

struct DenseResult {
  double perplexity = 0;
  double prefill_seconds = 0;  ///< Median over the windows, of all layers
};

struct SparseResult {
  AttentionPlan plan;
  double density = 0;  ///< Blocks kept of those visible, in the sparse model
  double perplexity = 0;
  double prefill_seconds = 0;  ///< As DenseResult's; 0 for the oracle, which has to see the attention first
  RecallResult recall;         ///< On the dense model's q and k; empty if not wanted
  std::vector<std::vector<double>> density_by_head;  ///< By layer and head, in the sparse model
};

struct PerplexityResult {
  int64_t length = 0;
  int64_t windows = 0;
  DenseResult dense;
  std::vector<SparseResult> rows;  ///< One for each plan
};

PerplexityResult measure_perplexity(EvalModel& model, const PerplexityOptions& options);

/// The results of several lengths as the JSON that `seer-train report` reads.
std::string perplexity_json(const EvalModel& model, const HeldOutFlags& held_out,
                            const std::vector<PerplexityResult>& results);
/// And as a table for the terminal.
std::string perplexity_table(const std::vector<PerplexityResult>& results);

}  // namespace seer
