// The subcommands that use gates: `eval ..` and `generate`. Each is one function, and returns the exit code.
#pragma once

#include <functional>

#include "trainer/eval/eval_model.h"
#include "trainer/eval/selection_flags.h"

namespace seer {

struct EvalPerplexityOptions {
  EvalModelOptions model;
  std::vector<std::string> data;  ///< Held-out files
  std::string text_field = "text";
  std::vector<int64_t> lengths = {8192};
  std::vector<std::string> methods;  ///< Empty: the gate if there is one, the window and the oracle
  SelectionFlags selection;
  int64_t windows = 1;    ///< Of each document
  int64_t documents = 0;  ///< The first ones alone; 0: all
  bool keep_document_bos = false;
  bool no_recall = false;
  std::string json;  ///< File for the results
};
/// `eval ppl`: density, perplexity, recall and prefill time of every method and rule beside the dense model.
int eval_perplexity_command(const EvalPerplexityOptions& options);

/// Adds `eval` and `generate` to the command line. `action` is set to what a subcommand does.
void add_eval_commands(CLI::App& app, std::function<int()>& action);

}  // namespace seer
