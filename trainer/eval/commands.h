// The subcommands that use gates: `eval ..`, `calibrate`, `generate`, `report`. Each is one function, and returns the exit code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/eval/calibration.h"
#include "trainer/eval/held_out.h"
#include "trainer/eval/sampler.h"
#include "trainer/eval/selection_flags.h"

namespace seer {

struct EvalPerplexityOptions {
  EvalModelOptions model;
  HeldOutFlags held_out;
  std::vector<int64_t> lengths;      ///< Empty: 8192, or the most that the model takes
  std::vector<std::string> methods;  ///< Empty: the gate if there is one, the window and the oracle
  SelectionFlags selection;
  bool no_recall = false;
  std::string json;  ///< File for the results
};
/// `eval ppl`: density, perplexity, recall and prefill time of every method and rule beside the dense model.
int eval_perplexity_command(const EvalPerplexityOptions& options);

struct CalibrateOptions {
  EvalModelOptions model;
  HeldOutFlags held_out;
  int64_t length = 0;  ///< 0: as above
  CalibrationTarget target;
  SelectionFlags selection;  ///< Sink and local blocks and the diagonal alone: what is kept besides
  std::string to;            ///< JSON file for the thresholds; empty: into the gates folder's config.json
};
/// `calibrate`: thresholds by layer and head that reach a density or a recall on held-out text.
int calibrate_command(const CalibrateOptions& options);

struct EvalGenerateOptions {
  EvalModelOptions model;
  std::optional<std::string> prompt;
  std::string prompt_file;  ///< "-": standard input
  std::string method;       ///< Empty: the gate if there is one, else dense
  SelectionFlags selection;
  bool chat = false;                     ///< By the model's own template
  std::string prompt_template = "auto";  ///< Or by this one
  std::string system;                    ///< System message of either
  int64_t max_new_tokens = 256;
  SamplingOptions sampling;
  std::vector<std::string> stops;
};
/// `generate`: the model's answer to standard output as it comes.
int generate_command(const EvalGenerateOptions& options);

/// What `eval ruler` and `eval longbench` have in common.
struct EvalTaskOptions {
  EvalModelOptions model;
  std::vector<std::string> methods;  ///< Beside the dense model; empty: the gate if there is one
  SelectionFlags selection;
  bool no_dense = false;
  std::string prompt_template = "auto";
  std::vector<std::string> tasks;  ///< Empty: all that the files allow
  std::string results;             ///< JSON lines; an interrupted run goes on behind them
  std::string json;                ///< The summary; empty: beside the results
};

struct EvalRulerOptions : EvalTaskOptions {
  std::vector<int64_t> lengths = {4096};
  int64_t samples = 0;  ///< Of each task; 0: 25, all of `data`
  std::optional<uint64_t> seed;
  std::string haystack;  ///< Book text
  std::string squad;
  std::string hotpotqa;
  std::string data;   ///< Files of RULER's own scripts in place of generated samples
  std::string write;  ///< Folder that generated samples are written to, as files of those scripts
};
/// `eval ruler`: the 13 RULER tasks, dense and sparse side by side.
int eval_ruler_command(const EvalRulerOptions& options);

struct EvalLongBenchOptions : EvalTaskOptions {
  std::string data;               ///< Folder with the jsonl files
  int64_t samples = 0;            ///< The first of each set alone; 0: all
  int64_t max_prompt_tokens = 0;  ///< 0: max_position_embeddings - 500
};
/// `eval longbench`: LongBench-E by length bucket, dense and sparse.
int eval_longbench_command(const EvalLongBenchOptions& options);

struct ReportOptions {
  std::string source;  ///< Run or gates folder
  std::string out;     ///< HTML file; empty: report.html in a run's folder, <name>-report.html beside gates
  EvalModelOptions model;  ///< With its folder and held-out text, maps of the attention are shown as well
  HeldOutFlags held_out;
  SelectionFlags selection;
  int64_t length = 4096;
  std::string gate;   ///< Of a run with several
  std::string heads;  ///< "0:3,5:1"; empty: six of them
};
/// `report RUN_OR_GATES`: writes one HTML page on a run or on gates, and prints its path.
int report_command(const ReportOptions& options);

}  // namespace seer
