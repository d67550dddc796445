#include "trainer/bench/bench_cli.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "src/core/error.h"
#include "src/gate/distill_layer.h"
#include "trainer/bench/commands.h"
#include "trainer/cli_checks.h"
#include "trainer/launch_flags.h"
#include "trainer/output_path.h"
#include "trainer/run_config.h"

namespace seer {
namespace {

using Action = std::function<int()>;

/// `run`, once it is known that the figures can be written: a measurement takes minutes.
template <typename Options>
Action measure(const std::shared_ptr<Options>& options, int (*run)(const Options&)) {
  return [=] {
    check_output_path("--json", options->json);
    return run(*options);
  };
}

/// Returns those that say a shape.
std::vector<CLI::Option*> add_attention_flags(CLI::App& command, AttentionBenchOptions& options) {
  command.add_option("--seq", options.tokens, "Tokens of a sequence, one or more: 8192,65536")
      ->delimiter(',')
      ->check(kPositive);
  command.add_flag("--portable", options.portable, "Our portable kernel where the Hopper one would run");
  command.add_option("--repeats", options.repeats, "Runs; the median counts")->check(kPositive);
  command.add_option("--json", options.json, "File for the figures");
  return {command.add_option("--heads", options.num_heads, "Query heads")->check(kPositive),
          command.add_option("--kv-heads", options.num_kv_heads, "Key/value heads")->check(kPositive),
          command.add_option("--head-dim", options.head_dim, "Channels of a head")->check(kPositive),
          command.add_option("--block", options.block_size, "Block size")
              ->check(CLI::IsMember(std::vector<int64_t>{16, 32, 64, 128}))};
}

/// Throws usage Errors of flags that say nothing without each other, or nothing beside each other.
void check_gate_flags(const BenchSparseOptions& options, const std::vector<CLI::Option*>& shape,
                      const CLI::Option& layers_at_once) {
  const std::pair<const char*, const std::string&> together[] = {
      {"--model", options.model}, {"--gates", options.gates}, {"--data", options.data}};
  const bool any = std::any_of(std::begin(together), std::end(together),
                               [](const auto& flag) { return !flag.second.empty(); });
  for (const auto& [name, value] : together) {
    if (any && value.empty()) fail_usage("{} is missing: --model, --gates and --data belong together", name);
  }
  if (!any && !options.layers.empty()) fail_usage("--layers are a model's: give --model, --gates and --data");
  if (!any && layers_at_once.count() > 0)
    fail_usage("--layers-at-once is for a model's layers: give --model, --gates and --data");
  for (const CLI::Option* flag : shape) {
    if (any && flag->count() > 0) {
      fail_usage("{}: heads are those of --model, blocks those of --gates: leave it out", flag->get_name());
    }
  }
}

void add_bench_attention(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchAttentionOptions>();
  auto* command = bench.add_subcommand("attention", "On one GPU: attention with its target beside cuDNN's");
  add_attention_flags(*command, *options);
  command->callback([=, &action] { action = measure(options, bench_attention_command); });
}

void add_bench_sparse(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchSparseOptions>();
  auto* command = bench.add_subcommand(
      "sparse", "On one GPU: block-sparse attention beside dense attention and its floors");
  command
      ->add_option("--density", options->densities, "Share of the blocks that is kept, one or more: 0.1,0.3")
      ->delimiter(',')
      ->check(kShare);
  const std::vector<CLI::Option*> shape = add_attention_flags(*command, *options);
  command->add_option("--model", options->model, "Folder of a model whose q, k and v are taken")
      ->check(CLI::ExistingDirectory);
  command->add_option("--gates", options->gates, "Folder of its trained gates, whose choices are taken")
      ->check(CLI::ExistingDirectory);
  command->add_option("--data", options->data, "File of the text that it reads, or of token ids")
      ->check(CLI::ExistingFile);
  command->add_option("--layers", options->layers, "Of that model, one or more: 0,5 (default: all)")
      ->delimiter(',')
      ->check(kNotNegative);
  const CLI::Option* layers_at_once =
      command
          ->add_option(
              "--layers-at-once", options->layers_at_once,
              "Layers measured as the heads of one, a divisor of their number: 4 of 8 heads make one of 32")
          ->check(kPositive);
  command->callback([=, &action] {
    action = [=] {
      check_gate_flags(*options, shape, *layers_at_once);
      if (!options->model.empty() && command->count("--seq") == 0) options->tokens.clear();
      return measure(options, bench_sparse_command)();
    };
  });
}

void add_bench_decode(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchDecodeOptions>();
  auto* command = bench.add_subcommand(
      "decode", "On one GPU: a token of generation with a KV cache, its attention beside cuDNN's");
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command->add_option("--seq", options->tokens, "Tokens in the cache, one or more: 8192,32768")
      ->delimiter(',')
      ->check(kPositive);
  command->add_option("--repeats", options->repeats, "Runs; the median counts")->check(kPositive);
  command->add_option("--json", options->json, "File for the figures");
  command->callback([=, &action] { action = measure(options, bench_decode_command); });
}

void add_bench_gemm(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchGemmOptions>();
  auto* command = bench.add_subcommand(
      "gemm", "On one GPU: cuBLASLt at a model's shapes, the copy bandwidth, our kernels");
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command->add_option("--rows", options->rows, "Tokens")->check(kPositive);
  command->add_option("--repeats", options->repeats, "Runs; the median counts")->check(kPositive);
  command->add_option("--json", options->json, "File for the figures");
  command->callback([=, &action] { action = measure(options, bench_gemm_command); });
}

void add_bench_step(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchStepOptions>();
  auto* command =
      bench.add_subcommand("step", "On one GPU: whole optimiser steps, and where their time goes");
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command->add_flag("--random-weights", options->random_weights, "Leave the files beside config.json unread");
  command->add_option("--seq", options->tokens, "Tokens of a sequence")->check(kPositive);
  command->add_option("--batch", options->batch_size, "Sequences of a step")->check(kPositive);
  command->add_option("--layers", options->layers, "Measure the first ones alone (default: all)")
      ->check(kPositive);
  command
      ->add_option("--weights", options->weights, "Where the files' layers are, as model.weights of a config")
      ->check(CLI::IsMember({"auto", "resident", "stream"}));
  command->add_option("--residuals", options->residuals, "As train.residuals of a config")
      ->check(CLI::IsMember({"auto", "device", "host"}));
  command->add_option("--gates", options->gates, "Gates trained at once")
      ->check(CLI::Range(int64_t{1}, static_cast<int64_t>(kMaxGates)));
  command->add_option("--steps", options->steps, "Timed steps; the median counts")->check(kPositive);
  command->add_option("--json", options->json, "File for the figures");
  command->callback([=, &action] { action = measure(options, bench_step_command); });
}

void add_bench_ranks(CLI::App& bench, Action& action, const std::vector<std::string>& arguments) {
  struct Options : BenchRanksOptions {
    std::string gpus;
  };
  const auto options = std::make_shared<Options>();
  auto* command = bench.add_subcommand(
      "ranks",
      "On several GPUs: whole optimiser steps, each way of sharing them beside GPUs that train alone");
  command->add_option("--gpus", options->gpus, "One rank for each of these GPUs of this machine: 0,1 or all")
      ->type_name("LIST");
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command
      ->add_option("--modes", options->modes,
                   "In this order: alone, alone-long, data, shard, context, context+shard")
      ->delimiter(',')
      ->check(CLI::IsMember({"alone", "alone-long", "data", "shard", "context", "context+shard"}));
  command->add_option("--seq", options->tokens, "Tokens of a sequence, one for each GPU")->check(kPositive);
  command->add_option("--long-seq", options->long_tokens, "Tokens of a sequence that all GPUs share")
      ->check(kPositive);
  command->add_option("--batch", options->batch_size, "Sequences of a rank in a step")->check(kPositive);
  command->add_option("--layers", options->layers, "The first ones alone (default: all)")->check(kPositive);
  command->add_option("--steps", options->steps, "Timed steps; the median counts")->check(kPositive);
  command->add_option("--rendezvous", options->rendezvous_folder,
                      "Folder that all ranks see, under other launchers");
  command->add_option("--json", options->json, "File for the figures");
  command->callback([options, &action, &arguments] {
    action = [options, &arguments] {
      check_output_path("--json", options->json);
      if (options->gpus.empty()) return bench_ranks_command(*options);
      RunConfig config;
      config.device = "cuda";
      LaunchFlags flags;
      flags.gpus = options->gpus;
      return launch(plan_launch(flags, config, current_environment(), arguments));
    };
  });
}

void add_bench_comm(CLI::App& bench, Action& action, const std::vector<std::string>& arguments) {
  struct Options : BenchCommOptions {
    LaunchFlags launch;
  };
  const auto options = std::make_shared<Options>();
  auto* command = bench.add_subcommand("comm", "On several ranks: the exchanges of a layer alone");
  command
      ->add_option("--gpus", options->launch.gpus,
                   "One rank for each of these GPUs of this machine: 0,1 or all")
      ->type_name("LIST");
  command
      ->add_option("--ranks", options->launch.ranks,
                   "So many ranks on this machine's CPUs, with --device cpu (default: this process alone)")
      ->check(CLI::Range(1, 65536));
  command->add_option("--device", options->device, "Where the ranks are")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command->add_option("--seq", options->tokens, "Tokens of a sequence that all ranks share")
      ->check(kPositive);
  command->add_option("--repeats", options->repeats, "Runs; the median counts")->check(kPositive);
  command->add_option("--rendezvous", options->rendezvous_folder,
                      "Folder that all ranks see, under other launchers");
  command->add_option("--json", options->json, "File for the figures");
  command->callback([options, &action, &arguments] {
    action = [options, &arguments] {
      check_output_path("--json", options->json);
      if (!options->launch.any()) return bench_comm_command(*options);
      RunConfig config;
      config.device = options->device;
      return launch(plan_launch(options->launch, config, current_environment(), arguments));
    };
  });
}

}  // namespace

void add_bench_commands(CLI::App& app, Action& action, const std::vector<std::string>& arguments) {
  auto* command = app.add_subcommand("bench", "Measure speed beside a peer in the same run");
  command->require_subcommand(1);
  const auto options = std::make_shared<BenchOptions>();
  auto* cpu = command->add_subcommand("cpu", "Frozen forward and attention against Eigen's sgemm");
  cpu->add_option("--model", options->model,
                  "Folder whose config.json gives the shape (default: seer-small's)");
  cpu->add_option("--threads", options->threads, "Worker threads (default: all)")->check(kThreads);
  cpu->add_option("--repeats", options->repeats, "Runs; the median counts")->check(kPositive);
  cpu->callback([=, &action] { action = [=] { return bench_cpu_command(*options); }; });

  const auto tokenizer = std::make_shared<std::string>();
  const auto text = std::make_shared<std::string>();
  const auto repeats = std::make_shared<int>(5);
  auto* tokens = command->add_subcommand("tokenizer", "MB/s of one thread");
  tokens->add_option("--tokenizer", *tokenizer, "Model folder or tokenizer.json")->required();
  tokens->add_option("--text", *text, "Text file, or .jsonl with a text field")
      ->required()
      ->check(CLI::ExistingFile);
  tokens->add_option("--repeats", *repeats, "Runs; the median counts")->check(kPositive);
  tokens->callback(
      [=, &action] { action = [=] { return bench_tokenizer_command(*tokenizer, *text, *repeats); }; });
  add_bench_attention(*command, action);
  add_bench_sparse(*command, action);
  add_bench_decode(*command, action);
  add_bench_gemm(*command, action);
  add_bench_step(*command, action);
  add_bench_ranks(*command, action, arguments);
  add_bench_comm(*command, action, arguments);
}

}  // namespace seer
