#include "trainer/run_config_keys.h"

#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace seer {
namespace {

constexpr std::array<std::string_view, 3> kPools = {"max", "min",
                                                    "avg"};  // in the order a gate type has them
constexpr double kMaxTokens = 1 << 24;
constexpr double kMaxSteps = 1'000'000'000;

/// The seven non-empty subsets of the pools as a gate type writes them.
std::vector<std::string> pool_subsets() {
  std::vector<std::string> subsets;
  for (unsigned bits = 1; bits < 1U << kPools.size(); ++bits) {
    std::string subset;
    for (size_t pool = 0; pool < kPools.size(); ++pool) {
      if ((bits >> pool & 1U) != 0) subset += kPools[pool];
    }
    subsets.push_back(subset);
  }
  return subsets;
}

std::vector<std::string> gate_types() {
  std::vector<std::string> types;
  for (const std::string& query : pool_subsets()) {
    for (const std::string& key : pool_subsets()) types.push_back(fmt::format("Q{}_K{}", query, key));
  }
  return types;
}

/// The pools named in `text`, in any order, in theirs; empty if something else is in it.
std::string in_pool_order(std::string_view text) {
  std::array<bool, kPools.size()> present{};
  while (!text.empty()) {
    size_t pool = 0;
    while (pool < kPools.size() && !text.starts_with(kPools[pool])) ++pool;
    if (pool == kPools.size()) return "";
    present[pool] = true;
    text.remove_prefix(kPools[pool].size());
  }
  std::string ordered;
  for (size_t pool = 0; pool < kPools.size(); ++pool) {
    if (present[pool]) ordered += kPools[pool];
  }
  return ordered;
}

/// The gate type that a wrong spelling means: pools in another order, letter case, no underscore.
std::string respell_gate_type(const std::string& text) {
  std::string letters;
  for (const char c : text) {
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  const size_t k = letters.find('k');
  if (!letters.starts_with('q') || k == std::string::npos) return "";
  const std::string query = in_pool_order(std::string_view(letters).substr(1, k - 1));
  const std::string key = in_pool_order(std::string_view(letters).substr(k + 1));
  return query.empty() || key.empty() ? "" : fmt::format("Q{}_K{}", query, key);
}

ConfigSection describe_model(ModelConfigSection& c) {
  return {{
      {"path",
       &c.path,
       {.not_empty = true},
       "Hugging Face model folder: config.json, safetensors, tokenizer."},
      {"rope_scaling",
       JsonObjectText{&c.rope_scaling},
       {.form = "an object with a rope_type, like {\"rope_type\":\"yarn\",\"factor\":4.0,"
                "\"original_max_position_embeddings\":32768}"},
       "Takes the place of the rope scaling in the model's config.json (YaRN switched on by hand); empty: as "
       "stored there."},
      {"weights",
       &c.weights,
       {.texts = {"auto", "resident", "stream"}},
       "On a GPU: all layers in its memory, or each read from the files while the one before computes. auto: "
       "resident "
       "if it fits. The CPU reads weights where the files are mapped and takes auto alone."},
  }};
}

ConfigSection describe_optimizer(OptimizerConfig& c) {
  return {{
      {"learning_rate", &c.learning_rate, {.above = 0, .at_most = 10}, "Learning rate after warm-up."},
      {"beta1", &c.beta1, {.at_least = 0, .below = 1}, "Decay of the first moment."},
      {"beta2", &c.beta2, {.at_least = 0, .below = 1}, "Decay of the second moment."},
      {"eps", &c.eps, {.above = 0, .at_most = 1}, "Added to the root of the second moment."},
      {"weight_decay", &c.weight_decay, {.at_least = 0, .at_most = 10}, "Decoupled weight decay."},
      {"max_grad_norm",
       &c.max_grad_norm,
       {.at_least = 0},
       "Gradients are scaled down to this global norm over all gate weights of the entry; 0: never."},
  }};
}

ConfigSection describe_schedule(ScheduleConfig& c) {
  return {{
      {"type",
       &c.type,
       {.texts = {"constant", "linear", "cosine", "cosine_floor"}},
       "The learning rate after warm-up: constant, falling to 0 on a line or a cosine, or on a cosine to "
       "min_learning_rate."},
      {"warmup_steps",
       &c.warmup_steps,
       {.at_least = 0, .at_most = kMaxSteps},
       "Steps over which the learning rate climbs from 0; at most train.steps."},
      {"min_learning_rate",
       &c.min_learning_rate,
       {.at_least = 0, .at_most = 10},
       "Where cosine_floor ends, at most optimizer.learning_rate; the other types refuse it."},
  }};
}

ConfigSection describe_export(GateExportConfig& c) {
  return {{
      {"dtype", &c.dtype, {.texts = {"bf16", "fp32"}}, "Element type of the exported weights."},
      {"sparsity_method",
       &c.sparsity_method,
       {.texts = {"threshold", "nz_ratio"}},
       "How inference selects blocks (seerattn_sparsity_method)."},
      {"threshold",
       &c.threshold,
       {.at_least = 0, .below = 1},
       "Blocks with a gate probability above it are kept (seerattn_threshold)."},
      {"nz_ratio",
       &c.nz_ratio,
       {.above = 0, .at_most = 1},
       "Share of the blocks that is kept (seerattn_nz_ratio)."},
      {"last_block_dense",
       &c.last_block_dense,
       {},
       "The last two rows of blocks are kept whole (seerattn_last_block_dense)."},
  }};
}

ConfigSection describe_gate(GateEntryConfig& c) {
  return {{
      {"name",
       &c.name,
       {.not_empty = true,
        .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        .max_length = 64,
        .form = "a folder name: letters, digits, '.', '_' and '-', the first a letter or digit, at most 64"},
       "Names the entry in metrics, checkpoints and the export folder; every entry has its own."},
      {"type",
       &c.type,
       {.texts = gate_types(),
        .form = "Q<pools>_K<pools>, pools one or more of max, min, avg in that order",
        .respell = respell_gate_type},
       "How queries and keys of a block are pooled."},
      {"block_size", &c.block_size, {.integers = {16, 32, 64, 128}}, "Tokens in a block."},
      {"hidden_size",
       &c.hidden_size,
       {.at_least = 0, .at_most = 4096, .multiple_of = 2},
       "Width of the gate's projections; 0: the model's head_dim."},
      {"force_double",
       &c.force_double,
       {},
       "Projects queries as well as keys even where keys alone would do."},
      {"key_pieces",
       &c.key_pieces,
       {.integers = {1, 2, 4, 8}},
       "Pieces of a block whose keys are pooled and rotated apart; the best piece gives the block's score. "
       "More "
       "than 1: not for the published inference code."},
      {"distance_bias",
       &c.distance_bias,
       {},
       "A learned bias of every head on the distance between blocks, and on the first block: the gate then "
       "holds a "
       "sink and a window. Not for the published inference code."},
      {"init_from", &c.init_from, {}, "Gates folder or weights file to continue from; empty: fresh weights."},
      {"loss_scale", &c.loss_scale, {.above = 0, .at_most = 1e9}, "Factor of the summed layer losses."},
      {"loss_reduction",
       &c.loss_reduction,
       {.texts = {"elements", "rows"}},
       "The loss of a layer: mean over all elements (published), or sum over a row and mean over rows, which "
       "does not shrink with the sequence."},
      {"optimizer", describe_optimizer(c.optimizer), {}, "AdamW."},
      {"schedule", describe_schedule(c.schedule), {}, "Learning rate over the steps."},
      {"export",
       describe_export(c.export_),
       {},
       "What the exported folder holds and tells the inference package to do."},
  }};
}

ConfigSection describe_data(DataConfig& c) {
  return {{
      {"files",
       &c.files,
       {.not_empty = true},
       "Training text: files, folders or globs of .jsonl, .jsonl.gz, .jsonl.zst, .txt, or token ids in .npy "
       "or "
       ".safetensors."},
      {"layout",
       &c.layout,
       {.texts = {"joined", "packed"}},
       "joined: documents run on and are cut into full sequences. packed: whole documents with boundaries."},
      {"sequence_length",
       &c.sequence_length,
       {.at_least = 1, .at_most = kMaxTokens},
       "Tokens of a sequence or pack; at least two blocks of every gate."},
      {"tokenizer", &c.tokenizer, {}, "Tokenizer folder or tokenizer.json; empty: the model's folder."},
      {"separator",
       &c.separator,
       {},
       "Token that ends each document; empty: the tokenizer's or model's EOS."},
      {"text_field", &c.text_field, {.not_empty = true}, "Field of a JSON line that holds the text."},
      {"chat_template",
       &c.chat_template,
       {.texts = {"auto", "llama3", "chatml"}},
       "Template for JSON lines with messages; auto: the one whose special tokens the tokenizer has."},
      {"shuffle", &c.shuffle, {}, "Shuffles files, and sequences inside a buffer, by the seed."},
      {"shuffle_buffer",
       &c.shuffle_buffer,
       {.at_least = 1, .at_most = 1 << 20},
       "Sequences in the shuffle buffer."},
      {"max_bad_lines",
       &c.max_bad_lines,
       {.at_least = 0, .at_most = 1e12},
       "Unreadable lines that are reported and skipped before the run stops."},
      {"tokenizer_threads",
       &c.tokenizer_threads,
       {.at_least = 1, .at_most = 1024},
       "Background threads that tokenise."},
      {"prefetch", &c.prefetch, {.at_least = 1, .at_most = 65536}, "Sequences kept ready ahead of the step."},
  }};
}

ConfigSection describe_train(TrainConfig& c) {
  return {{
      {"steps", &c.steps, {.at_least = 1, .at_most = kMaxSteps}, "Optimiser steps."},
      {"batch_size",
       &c.batch_size,
       {.at_least = 1, .at_most = 65536},
       "Sequences or packs in one optimiser step, over all ranks."},
      {"save_every",
       &c.save_every,
       {.at_least = 0, .at_most = kMaxSteps},
       "Steps between checkpoints; 0: only at the end."},
      {"keep_last", &c.keep_last, {.at_least = 1, .at_most = 1'000'000}, "Checkpoints kept."},
      {"log_every", &c.log_every, {.at_least = 1, .at_most = kMaxSteps}, "Steps between progress lines."},
      {"residuals",
       &c.residuals,
       {.texts = {"auto", "device", "host"}},
       "Where a GPU keeps the residual streams of a step's sequences between two layers: its own memory, or "
       "pinned "
       "host memory, copied behind the compute. auto: device if they fit. The CPU takes auto alone."},
  }};
}

ConfigSection describe_eval(EvalConfig& c) {
  return {{
      {"files", &c.files, {}, "Held-out text, as in data.files; empty: no evaluation."},
      {"every",
       &c.every,
       {.at_least = 0, .at_most = kMaxSteps},
       "Steps between evaluations; 0: only before the first and after the last step."},
      {"sequences", &c.sequences, {.at_least = 1, .at_most = 1 << 20}, "Sequences of an evaluation."},
      {"sequence_length",
       &c.sequence_length,
       {.at_least = 0, .at_most = kMaxTokens},
       "Tokens of an evaluated sequence; 0: data.sequence_length."},
      {"densities",
       &c.densities,
       {.not_empty = true, .above = 0, .at_most = 1},
       "Shares of blocks at which recall is reported; no value twice. Where a share leaves a row one block, "
       "that is its own."},
  }};
}

ConfigSection describe_parallel(ParallelConfig& c) {
  return {{
      {"context",
       &c.context,
       {.at_least = 1, .at_most = 4096},
       "Ranks that share each sequence, for sequences too long for one; divides the number of ranks. A "
       "sequence's length "
       "must then be a multiple of 2 * context * the largest block_size, and data.layout joined."},
      {"shard_weights",
       &c.shard_weights,
       {.at_least = 0, .at_most = 4096},
       "Ranks that keep one copy of the base model's layers between them, each a slice of every layer; "
       "divides the number "
       "of ranks. 1: every rank has all of them; 0: all ranks share one copy."},
      {"timeout",
       &c.timeout,
       {.above = 0, .at_most = 1e6},
       "Seconds for all ranks to come, and within which a rank that has died, is stopped or cannot be "
       "reached ends all "
       "others. Longer than a checkpoint takes to write: the others wait for it."},
  }};
}

ConfigSection describe_output(OutputConfig& c) {
  return {{
      {"dir",
       &c.dir,
       {.not_empty = true},
       "Run folder: effective config, metrics, checkpoints and exported gates."},
      {"tensorboard", &c.tensorboard, {}, "Writes TensorBoard event files."},
  }};
}

}  // namespace

ConfigSection describe(RunConfig& c) {
  return {{
      {"model", describe_model(c.model), {}, "The frozen base model."},
      {"device",
       &c.device,
       {.texts = {"cpu", "cuda"}},
       "Where to compute: cpu, or cuda: the first visible GPU (of several ranks, each its own), of compute "
       "capability 8.0 or "
       "later."},
      {"precision",
       &c.precision,
       {.texts = {"auto", "bf16", "fp32"}},
       "Activations and weights of the base model: auto is bf16 on a GPU and fp32 on the CPU, which has no "
       "other. "
       "fp32 on a GPU is a slow reference. Gates always learn in fp32."},
      {"memory_gb",
       &c.memory_gb,
       {.at_least = 0, .at_most = 1e6},
       "Device memory that the run may take, in 10^9 bytes; 0: all that is free."},
      {"threads", &c.threads, {.at_least = 0, .at_most = 1024}, "CPU worker threads; 0: one for each core."},
      {"seed", &c.seed, {}, "Seed of fresh gate weights and of the shuffle."},
      {"gates",
       config_list(c.gates, &describe_gate),
       {.not_empty = true},
       "Independent trainings on one pass of the base model, each with its own weights, optimiser and "
       "export."},
      {"data", describe_data(c.data), {}, "Training data."},
      {"train", describe_train(c.train), {}, "Length of the run, checkpoints and progress."},
      {"eval", describe_eval(c.eval), {}, "Evaluation on held-out text: loss and recall."},
      {"parallel",
       describe_parallel(c.parallel),
       {},
       "How several ranks (GPUs, or processes on CPUs) share a run."},
      {"output", describe_output(c.output), {}, "What a run writes."},
  }};
}

}  // namespace seer
