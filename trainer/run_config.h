// Everything a run is told, as one nested struct: the same tree as the JSON config, key for key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace seer {

struct ModelConfigSection {
  std::string path;              ///< Hugging Face model folder (config.json, safetensors, tokenizer).
  std::string rope_scaling;      ///< JSON object as text, in place of config.json's own; empty: as stored.
  std::string weights = "auto";  ///< auto, resident, stream

  bool operator==(const ModelConfigSection&) const = default;
};

struct OptimizerConfig {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 1.0;  ///< Global-norm clip over all gate weights of this entry; 0 switches it off.

  bool operator==(const OptimizerConfig&) const = default;
};

struct ScheduleConfig {
  std::string type = "cosine";  ///< constant | linear | cosine | cosine_floor
  int64_t warmup_steps = 20;
  double min_learning_rate = 0.0;  ///< Only for cosine_floor.

  bool operator==(const ScheduleConfig&) const = default;
};

struct GateExportConfig {
  std::string dtype = "bf16";  ///< bf16 | fp32
  std::string sparsity_method =
      "threshold";  ///< threshold | nz_ratio: seerattn_sparsity_method of the folder
  double threshold = 2e-3;
  double nz_ratio = 0.5;
  bool last_block_dense = false;

  bool operator==(const GateExportConfig&) const = default;
};

/// One independent training of one set of gates (own clip, learning rate, schedule, metrics and export).
struct GateEntryConfig {
  std::string name = "gate";             ///< Names the entry in metrics, checkpoints and the export folder.
  std::string type = "Qavg_Kmaxminavg";  ///< SEMANTICS section 2, one of 49.
  int64_t block_size = 64;               ///< 16, 32, 64 or 128
  int64_t hidden_size = 0;               ///< d; 0: the model's head_dim
  bool force_double = false;             ///< Both linears even where one would do (SEMANTICS section 2).
  int64_t key_pieces = 1;                ///< 1, 2, 4 or 8: PrefillGateConfig
  bool distance_bias = false;            ///< PrefillGateConfig
  std::string init_from;                 ///< Gates folder or weights file to continue from; empty: fresh.
  double loss_scale = 10.0;              ///< gate_loss_scale
  std::string loss_reduction = "elements";  ///< elements | rows (SEMANTICS section 4)
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  GateExportConfig export_;  ///< key "export"

  bool operator==(const GateEntryConfig&) const = default;
};

struct DataConfig {
  std::vector<std::string> files;  ///< Files, folders or globs.
  std::string layout = "joined";   ///< joined | packed (SEMANTICS section 5)
  int64_t sequence_length = 65536;
  std::string tokenizer;  ///< Folder or tokenizer.json; empty: the model's folder.
  std::string separator;  ///< Token that ends each document; empty: EOS as SEMANTICS section 5 finds it.
  std::string text_field = "text";
  std::string chat_template = "auto";  ///< auto | llama3 | chatml, for lines with `messages`
  bool shuffle = true;
  int64_t shuffle_buffer = 256;  ///< Sequences.
  int64_t max_bad_lines = 0;
  int64_t tokenizer_threads = 1;
  int64_t prefetch = 4;  ///< Sequences kept ready ahead of the step.

  bool operator==(const DataConfig&) const = default;
};

struct TrainConfig {
  int64_t steps = 500;
  int64_t batch_size = 16;   ///< Sequences (packs) in one optimiser step, each its own micro-batch.
  int64_t save_every = 100;  ///< Steps between checkpoints; 0: only at the end.
  int64_t keep_last = 2;     ///< Checkpoints kept.
  int64_t log_every = 1;
  std::string residuals = "auto";  ///< auto, device, host

  bool operator==(const TrainConfig&) const = default;
};

struct EvalConfig {
  std::vector<std::string> files;  ///< Held-out text; empty: no evaluation.
  int64_t every = 0;               ///< Steps between; 0: only before the first and after the last step.
  int64_t sequences = 4;
  int64_t sequence_length = 0;            ///< 0: data.sequence_length
  std::vector<double> densities = {0.1};  ///< nz_ratio values recall is reported at.

  bool operator==(const EvalConfig&) const = default;
};

struct ParallelConfig {
  int64_t context = 1;        ///< Ranks that share each sequence
  int64_t shard_weights = 1;  ///< Ranks that keep one copy of the base model between them; 0: all
  double timeout = 300;       ///< Seconds: for ranks to come, to answer, and for one exchange between them

  bool operator==(const ParallelConfig&) const = default;
};

struct OutputConfig {
  std::string dir;  ///< The run folder.
  bool tensorboard = true;

  bool operator==(const OutputConfig&) const = default;
};

struct RunConfig {
  ModelConfigSection model;
  std::string device = "cpu";      ///< cpu, cuda
  std::string precision = "auto";  ///< auto, bf16, fp32
  double memory_gb = 0;            ///< Device memory the run may take; 0: all that is free
  int64_t threads = 0;             ///< CPU worker threads; 0: all
  uint64_t seed = 42;
  std::vector<GateEntryConfig> gates;  ///< At least one.
  DataConfig data;
  TrainConfig train;
  EvalConfig eval;
  ParallelConfig parallel;
  OutputConfig output;

  bool operator==(const RunConfig&) const = default;
};

/// Parses a config file (JSON, // and /* */ comments allowed), applies `--set key.path=value` overrides in
/// order, fills in defaults and checks every key. Relative paths stay as written; they are meant from the
/// working directory. Throws a usage Error naming file and line (or the override), the key's full path, what
/// was found, what is allowed, and the nearest known key for an unknown one.
RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});

/// The same from JSON text; `where` names it in errors.
RunConfig parse_run_config(const std::string& text, const std::string& where,
                           const std::vector<std::string>& overrides = {});

/// The effective config with all defaults, as pretty-printed JSON that load_run_config reads back to the same
/// config. Nothing is checked; throws Error only where a text of the struct cannot be written as JSON.
std::string to_json(const RunConfig& config);

/// Every key of the effective config by its full path ("gates[0].block_size"), its value as JSON.
std::map<std::string, std::string> flat_config(const RunConfig& config);

/// The documented schema (JSON Schema draft 2020-12) of the config file; configs/schema.json is this text.
std::string config_schema_json();

/// A Markdown table of every key: what is allowed, its default and what it means; part of configs/README.md.
std::string config_reference_markdown();

}  // namespace seer
