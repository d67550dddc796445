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
  double memory_gb = 0;  ///< 0: this machine's
};
/// `plan CONFIG`: memory by purpose and an estimate of a step's time, nothing run.
int plan_command(const PlanOptions& options);

/// `bench cpu`: the frozen forward, and attention with pooled ground truth, as fractions of Eigen's sgemm
/// measured in the same run; memory of a sweep. Shapes are those of the model's config.json in `model`,
/// weights random.
struct BenchOptions {
  std::string model;  ///< Folder with config.json; empty: seer-small's shape
  int threads = 0;
  int repeats = 5;
};
int bench_cpu_command(const BenchOptions& options);

/// `bench tokenizer --tokenizer T --text FILE`: MB/s of one thread, median of `repeats`.
int bench_tokenizer_command(const std::string& tokenizer, const std::string& text_file, int repeats);

}  // namespace seer
