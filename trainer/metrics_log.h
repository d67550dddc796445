// metrics.jsonl: what a run measured, one JSON object a line, appended as it happens.
//
// Every line belongs to one step and one gate entry, so the file is a flat table however many entries train:
//
//   {"step":7,"gate":"gate","loss":0.41,"layer_losses":[0.2,0.21],"lr":0.001,"grad_norm":0.5,
//    "tokens":114688,"tokens_per_second":5210.3,"time":22.0}
//   {"step":8,"gate":"gate","eval_loss":0.40,"eval_layer_losses":[0.19,0.21],
//    "recall":[{"density":0.1,"recall":0.91,"oracle":0.97,"layer_recall":[...],"layer_oracle":[...]}]}
//
// Training lines have `loss`, evaluation lines `eval_loss`. To plot: jq -r 'select(.loss) | [.step,.loss] |
// @tsv' (with several entries: select(.loss and .gate == "name")). Numbers are printed so that reading them
// gives the same bits; JSON knows no NaN or infinity, so a value that is not finite is written as null.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/append_file.h"

namespace seer {

/// One optimiser step of one gate entry.
struct GateMetrics {
  std::string name;
  double loss = 0;  ///< Sum over layers, as SEMANTICS section 4 scales it.
  std::vector<double> layer_losses;
  double learning_rate = 0;
  double grad_norm = 0;  ///< Before clipping.
};

/// One optimiser step of every gate entry.
struct StepMetrics {
  int64_t step = 0;  ///< Counted from 1.
  std::vector<GateMetrics> gates;
  int64_t tokens = 0;  ///< Trained on since step 1.
  double tokens_per_second = 0;
  double seconds = 0;  ///< Since the run started.
};

/// Recall of the gate's blocks at one kept share of blocks, beside the best any choice could reach.
struct EvalDensity {
  double density = 0;
  double recall = 0;
  double oracle = 0;
  std::vector<double> layer_recall;
  std::vector<double> layer_oracle;
};

/// One held-out evaluation of one gate entry.
struct EvalMetrics {
  int64_t step = 0;  ///< Steps trained so far; 0 is before training.
  std::string gate;
  double loss = 0;
  std::vector<double> layer_losses;
  std::vector<EvalDensity> densities;
};

/// Appends to a run's metrics.jsonl. Each append is handed to the kernel before the call returns, so a killed
/// process loses nothing. Throws Error naming the file when it cannot be written. Not thread-safe.
class MetricsLog {
 public:
  /// Starts the file of a new run; an existing file is an Error.
  static MetricsLog create(const std::filesystem::path& path);

  /// Continues the file of a resumed run: removes, atomically, every record of a step after `last_step` (the
  /// checkpoint's; -1 removes all) and a half-written last line. A missing file is started anew with a
  /// warning.
  static MetricsLog resume(const std::filesystem::path& path, int64_t last_step);

  /// One line per gate entry.
  void append(const StepMetrics& metrics);
  void append(const EvalMetrics& metrics);

  /// Waits until everything appended is on disk; call before a checkpoint that counts on it.
  void sync() { file_.sync(); }

 private:
  explicit MetricsLog(AppendFile file) : file_(std::move(file)) {}

  AppendFile file_;
};

/// A metrics.jsonl read back, in file order. null reads as NaN.
struct MetricsHistory {
  std::vector<StepMetrics> steps;
  std::vector<EvalMetrics> evals;
};

/// Reads a metrics.jsonl, also one that a running process appends to: a half-written last line is left out.
/// Any other line that is not a record is an Error naming file, line and key.
MetricsHistory read_metrics(const std::filesystem::path& path);

}  // namespace seer
