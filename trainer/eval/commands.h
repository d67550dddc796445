// The subcommands that use gates: `eval ..` and `generate`. Each is one function, and returns the exit code.
#pragma once

#include <functional>

#include "trainer/eval/calibration.h"
#include "trainer/eval/held_out.h"
#include "trainer/eval/sampler.h"
#include "trainer/eval/selection_flags.h"

namespace seer {

struct EvalPerplexityOptions {
  EvalModelOptions model;
  HeldOutFlags held_out;
  std::vector<int64_t> lengths = {8192};
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
  int64_t length = 8192;
  CalibrationTarget target;
  std::string to;  ///< JSON file for the thresholds; empty: into the gates folder's config.json
};
/// `calibrate`: thresholds by layer and head that reach a density or a recall on held-out text.
int calibrate_command(const CalibrateOptions& options);

struct EvalGenerateOptions {
  EvalModelOptions model;
  std::optional<std::string> prompt;
  std::string prompt_file;  ///< "-": standard input
  std::string method;       ///< Empty: the gate if there is one, else dense
  SelectionFlags selection;
  bool chat = false;
  std::string system;  ///< Of --chat
  int64_t max_new_tokens = 256;
  SamplingOptions sampling;
  std::vector<std::string> stops;
};
/// `generate`: the model's answer to standard output as it comes.
int generate_command(const EvalGenerateOptions& options);

/// How a prefill attends by `method` ("dense", a scoring method, or empty: by the gates if there are any) and the flags;
/// without a rule, as the gates' config.json says. Throws usage Errors.
AttentionPlan plan_of(const EvalModelOptions& model, const std::string& method,
                      const SelectionFlags& selection, const GateSet* gates, const ModelConfig& config);

/// Adds `eval` and `generate` to the command line. `action` is set to what a subcommand does.
void add_eval_commands(CLI::App& app, std::function<int()>& action);

}  // namespace seer
