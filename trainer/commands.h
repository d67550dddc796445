// The subcommands of seer-train: each is one function, and returns the exit code.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace seer {

/// `export RUN_OR_CHECKPOINT --to DIR [--gate NAME]`: writes the gates folder(s) of a run's newest
/// checkpoint, or of a given one. A run with several entries writes DIR/<name> for each, unless `gate` names
/// one.
int export_command(const std::string& source, const std::string& to, const std::string& gate);

/// `inspect PATH`: what a model folder, gates folder, run, checkpoint, .safetensors or .pth file holds.
int inspect_command(const std::string& path);

struct TokenizeOptions {
  std::string tokenizer;            ///< Folder or tokenizer.json
  std::optional<std::string> text;  ///< Text, or ids to decode; none: standard input
  bool decode = false;
  bool count_only = false;
  bool no_special = false;
};
/// `tokenize`: text to ids and back.
int tokenize_command(const TokenizeOptions& options);

struct PlanOptions {
  std::string config;
  std::vector<std::string> overrides;
  double gflops = 0;     ///< Of matrix products; 0: measured on this machine
  double bandwidth = 0;  ///< GB/s; 0: measured on this machine
  double memory_gb = 0;  ///< 0: this machine's, or the named GPU's
  std::string gpu;       ///< Plan for this one (known_gpus()), whatever is here
  int ranks = 1;         ///< That share the run: planned for rank 0
};
/// `plan CONFIG`: memory by purpose and an estimate of a step's time, nothing run. 1 if it does not fit.
int plan_command(const PlanOptions& options);

}  // namespace seer
