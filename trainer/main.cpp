// seer-train: the command line. Every mistake ends here as one message and an exit code: 2 usage, 1 run-time
// failure, 75 stopped early (resumable), 76 another rank was lost, 130 interrupted twice.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/prctl.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/gate/distill_layer.h"
#include "trainer/absent_gpu.h"
#include "trainer/commands.h"
#include "trainer/eval/eval_cli.h"
#include "trainer/launch_flags.h"
#include "trainer/run_config.h"
#include "trainer/train_loop.h"
#include "trainer/version.h"

namespace seer {
namespace {

using Action = std::function<int()>;

void add_train(CLI::App& app, Action& action, const bool& verbose,
               const std::vector<std::string>& arguments) {
  auto* command = app.add_subcommand("train", "Train gates as CONFIG says");
  struct Options {
    std::string config;
    std::vector<std::string> overrides;
    bool resume = false;
    bool print_config = false;
    bool print_schema = false;
    std::string device;
    LaunchFlags launch;
  };
  const auto options = std::make_shared<Options>();
  command->add_option("config", options->config, "JSON config file (keys: configs/README.md)");
  command->add_option("--set", options->overrides, "Override one key: a.b=value, gates[0].block_size=32")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_flag("--resume", options->resume, "Continue the run in output.dir from its newest checkpoint");
  command->add_flag("--print-config", options->print_config, "Print the effective config and stop");
  command->add_flag("--print-schema", options->print_schema, "Print the JSON schema of configs and stop");
  command->add_option("--device", options->device, "Override the config's device")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command
      ->add_option("--gpus", options->launch.gpus,
                   "One rank for each of these GPUs of this machine: 0,1,3 or all")
      ->type_name("LIST");
  command->add_option("--ranks", options->launch.ranks, "So many ranks on this machine's CPUs")
      ->check(CLI::Range(1, 65536));
  command
      ->add_option("--max-restarts", options->launch.max_restarts,
                   "After a failure start again from the newest checkpoint, at most so often")
      ->check(CLI::Range(0, 1'000'000));
  command->callback([options, &action, &verbose, &arguments] {
    action = [options, &verbose, &arguments] {
      if (options->print_schema) {
        std::fputs(config_schema_json().c_str(), stdout);
        return 0;
      }
      if (options->config.empty()) fail_usage("train needs a config file: seer-train train CONFIG");
      if (!options->device.empty()) options->overrides.push_back("device=" + options->device);
      const RunConfig config = load_run_config(options->config, options->overrides);
      if (options->print_config) {
        std::fputs(to_json(config).c_str(), stdout);
        return 0;
      }
      if (options->launch.any()) {
        LaunchPlan plan = plan_launch(options->launch, config, current_environment(), arguments);
        plan.verbose = verbose;
        return launch(plan);
      }
      return train(config, options->resume);
    };
  });
}

void add_export(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("export", "Write the gates folder of a run or checkpoint");
  const auto source = std::make_shared<std::string>();
  const auto to = std::make_shared<std::string>();
  const auto gate = std::make_shared<std::string>();
  command->add_option("source", *source, "Run folder (its newest checkpoint) or checkpoint folder")
      ->required();
  command->add_option("--to", *to, "Folder to write")->required();
  command->add_option("--gate", *gate, "Only this entry of the config's gates");
  command->callback([=, &action] { action = [=] { return export_command(*source, *to, *gate); }; });
}

void add_inspect(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("inspect", "Say what a model, gates, run, checkpoint, safetensors or .pth holds");
  const auto path = std::make_shared<std::string>();
  command->add_option("path", *path, "Folder or file")->required();
  command->callback([=, &action] { action = [=] { return inspect_command(*path); }; });
}

void add_tokenize(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("tokenize", "Text to token ids, or back with --decode");
  const auto options = std::make_shared<TokenizeOptions>();
  command->add_option("--tokenizer", options->tokenizer, "Model folder or tokenizer.json")->required();
  command->add_option("text", options->text, "Text (or ids); standard input if not given");
  command->add_flag("--decode", options->decode, "Ids to text");
  command->add_flag("--count", options->count_only, "Print only the number of tokens");
  command->add_flag("--no-special", options->no_special,
                    "Neither add BOS nor recognise special tokens in the text");
  command->callback([=, &action] { action = [=] { return tokenize_command(*options); }; });
}

void add_plan(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("plan", "Memory and time of a config, nothing run");
  const auto options = std::make_shared<PlanOptions>();
  command->add_option("config", options->config, "JSON config file")->required();
  command->add_option("--set", options->overrides, "Override one key")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command
      ->add_option("--gflops", options->gflops,
                   "Matrix products of the machine to plan for (default: measured here)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--bandwidth", options->bandwidth, "Its memory bandwidth in GB/s (default: measured here)")
      ->check(CLI::PositiveNumber);
  command->add_option("--memory", options->memory_gb, "Its memory in GB (default: this machine's)")
      ->check(CLI::PositiveNumber);
  command->add_option("--gpu", options->gpu, "A GPU that need not be here: " + known_gpu_names());
  command->add_option("--ranks", options->ranks, "Plan for each of so many ranks")
      ->check(CLI::Range(1, 65536));
  command->callback([=, &action] { action = [=] { return plan_command(*options); }; });
}

/// Returns those that say a shape.
std::vector<CLI::Option*> add_attention_flags(CLI::App& command, AttentionBenchOptions& options) {
  command.add_option("--seq", options.tokens, "Tokens of a sequence, one or more: 8192,65536")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command.add_flag("--portable", options.portable, "Our portable kernel where the Hopper one would run");
  command.add_option("--repeats", options.repeats, "Runs; the median counts")->check(CLI::PositiveNumber);
  command.add_option("--json", options.json, "File for the figures");
  return {
      command.add_option("--heads", options.num_heads, "Query heads")->check(CLI::PositiveNumber),
      command.add_option("--kv-heads", options.num_kv_heads, "Key/value heads")->check(CLI::PositiveNumber),
      command.add_option("--head-dim", options.head_dim, "Channels of a head")->check(CLI::PositiveNumber),
      command.add_option("--block", options.block_size, "Block size")
          ->check(CLI::IsMember(std::vector<int64_t>{16, 32, 64, 128}))};
}

/// Throws usage Errors of flags that say nothing without each other, or nothing beside each other.
void check_gate_flags(const BenchSparseOptions& options, const std::vector<CLI::Option*>& shape) {
  const std::pair<const char*, const std::string&> together[] = {
      {"--model", options.model}, {"--gates", options.gates}, {"--data", options.data}};
  const bool any = std::any_of(std::begin(together), std::end(together),
                               [](const auto& flag) { return !flag.second.empty(); });
  for (const auto& [name, value] : together) {
    if (any && value.empty()) fail_usage("{} is missing: --model, --gates and --data belong together", name);
  }
  if (!any && !options.layers.empty()) fail_usage("--layers are a model's: give --model, --gates and --data");
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
  command->callback([=, &action] { action = [=] { return bench_attention_command(*options); }; });
}

void add_bench_sparse(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchSparseOptions>();
  auto* command = bench.add_subcommand(
      "sparse", "On one GPU: block-sparse attention beside dense attention and its floors");
  command
      ->add_option("--density", options->densities, "Share of the blocks that is kept, one or more: 0.1,0.3")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0));
  const std::vector<CLI::Option*> shape = add_attention_flags(*command, *options);
  command->add_option("--model", options->model, "Folder of a model whose q, k and v are taken")
      ->check(CLI::ExistingDirectory);
  command->add_option("--gates", options->gates, "Folder of its trained gates, whose choices are taken")
      ->check(CLI::ExistingDirectory);
  command->add_option("--data", options->data, "File of the text that it reads, or of token ids")
      ->check(CLI::ExistingFile);
  command->add_option("--layers", options->layers, "Of that model, one or more: 0,5 (default: all)")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber);
  command->callback([=, &action] {
    action = [=] {
      check_gate_flags(*options, shape);
      return bench_sparse_command(*options);
    };
  });
}

void add_bench_gemm(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchGemmOptions>();
  auto* command = bench.add_subcommand(
      "gemm", "On one GPU: cuBLASLt at a model's shapes, the copy bandwidth, our kernels");
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command->add_option("--rows", options->rows, "Tokens")->check(CLI::PositiveNumber);
  command->add_option("--repeats", options->repeats, "Runs; the median counts")->check(CLI::PositiveNumber);
  command->add_option("--json", options->json, "File for the figures");
  command->callback([=, &action] { action = [=] { return bench_gemm_command(*options); }; });
}

void add_bench_step(CLI::App& bench, Action& action) {
  const auto options = std::make_shared<BenchStepOptions>();
  auto* command =
      bench.add_subcommand("step", "On one GPU: whole optimiser steps, and where their time goes");
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command->add_flag("--random-weights", options->random_weights, "Leave the files beside config.json unread");
  command->add_option("--seq", options->tokens, "Tokens of a sequence")->check(CLI::PositiveNumber);
  command->add_option("--batch", options->batch_size, "Sequences of a step")->check(CLI::PositiveNumber);
  command->add_option("--layers", options->layers, "Measure the first ones alone (default: all)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--weights", options->weights, "Where the files' layers are, as model.weights of a config")
      ->check(CLI::IsMember({"auto", "resident", "stream"}));
  command->add_option("--residuals", options->residuals, "As train.residuals of a config")
      ->check(CLI::IsMember({"auto", "device", "host"}));
  command->add_option("--gates", options->gates, "Gates trained at once")
      ->check(CLI::Range(int64_t{1}, static_cast<int64_t>(kMaxGates)));
  command->add_option("--steps", options->steps, "Timed steps; the median counts")
      ->check(CLI::PositiveNumber);
  command->add_option("--json", options->json, "File for the figures");
  command->callback([=, &action] { action = [=] { return bench_step_command(*options); }; });
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
  command->add_option("--seq", options->tokens, "Tokens of a sequence, one for each GPU")
      ->check(CLI::PositiveNumber);
  command->add_option("--long-seq", options->long_tokens, "Tokens of a sequence that all GPUs share")
      ->check(CLI::PositiveNumber);
  command->add_option("--batch", options->batch_size, "Sequences of a rank in a step")
      ->check(CLI::PositiveNumber);
  command->add_option("--layers", options->layers, "The first ones alone (default: all)")
      ->check(CLI::PositiveNumber);
  command->add_option("--steps", options->steps, "Timed steps; the median counts")
      ->check(CLI::PositiveNumber);
  command->add_option("--rendezvous", options->rendezvous_folder,
                      "Folder that all ranks see, under other launchers");
  command->add_option("--json", options->json, "File for the figures");
  command->callback([options, &action, &arguments] {
    action = [options, &arguments] {
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
                   "So many ranks on this machine's CPUs, with --device cpu")
      ->check(CLI::Range(1, 65536));
  command->add_option("--device", options->device, "cuda or cpu")->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--model-config", options->model_config, "config.json (default: Llama-3.1-8B's shape)")
      ->check(CLI::ExistingPath);
  command->add_option("--seq", options->tokens, "Tokens of a sequence that all ranks share")
      ->check(CLI::PositiveNumber);
  command->add_option("--repeats", options->repeats, "Runs; the median counts")->check(CLI::PositiveNumber);
  command->add_option("--rendezvous", options->rendezvous_folder,
                      "Folder that all ranks see, under other launchers");
  command->add_option("--json", options->json, "File for the figures");
  command->callback([options, &action, &arguments] {
    action = [options, &arguments] {
      if (!options->launch.any()) return bench_comm_command(*options);
      RunConfig config;
      config.device = options->device;
      return launch(plan_launch(options->launch, config, current_environment(), arguments));
    };
  });
}

void add_bench(CLI::App& app, Action& action, const std::vector<std::string>& arguments) {
  auto* command = app.add_subcommand("bench", "Measure speed beside a peer in the same run");
  command->require_subcommand(1);
  const auto options = std::make_shared<BenchOptions>();
  auto* cpu = command->add_subcommand("cpu", "Frozen forward and attention against Eigen's sgemm");
  cpu->add_option("--model", options->model,
                  "Folder whose config.json gives the shape (default: seer-small's)");
  cpu->add_option("--threads", options->threads, "Worker threads (default: all)")
      ->check(CLI::NonNegativeNumber);
  cpu->add_option("--repeats", options->repeats, "Runs; the median counts")->check(CLI::PositiveNumber);
  cpu->callback([=, &action] { action = [=] { return bench_cpu_command(*options); }; });

  const auto tokenizer = std::make_shared<std::string>();
  const auto text = std::make_shared<std::string>();
  const auto repeats = std::make_shared<int>(5);
  auto* tokens = command->add_subcommand("tokenizer", "MB/s of one thread");
  tokens->add_option("--tokenizer", *tokenizer, "Model folder or tokenizer.json")->required();
  tokens->add_option("--text", *text, "Text file, or .jsonl with a text field")
      ->required()
      ->check(CLI::ExistingFile);
  tokens->add_option("--repeats", *repeats, "Runs; the median counts")->check(CLI::PositiveNumber);
  tokens->callback(
      [=, &action] { action = [=] { return bench_tokenizer_command(*tokenizer, *text, *repeats); }; });
  add_bench_attention(*command, action);
  add_bench_sparse(*command, action);
  add_bench_gemm(*command, action);
  add_bench_step(*command, action);
  add_bench_ranks(*command, action, arguments);
  add_bench_comm(*command, action, arguments);
}

int run(int argc, char** argv) {
  CLI::App app("Trains AttnGates: which parts of a frozen model's attention matter");
  app.name("seer-train");
  app.require_subcommand(0, 1);  // checked below: CLI11 would not name a misspelt subcommand
  app.set_version_flag("--version", version_text());
  bool verbose = false;
  app.add_flag("-v,--verbose", verbose, "Log more");
  Action action;
  const std::vector<std::string> arguments(argv, argv + argc);
  add_train(app, action, verbose, arguments);
  add_export(app, action);
  add_inspect(app, action);
  add_tokenize(app, action);
  add_plan(app, action);
  add_bench(app, action, arguments);
  add_eval_commands(app, action);
  app.add_subcommand("version", "Version and build")->callback([&action] {
    action = [] {
      fmt::print("{}\n", version_text());
      return 0;
    };
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (!action) fail_usage("no subcommand given: see seer-train --help");
  if (verbose) log::set_level(log::Level::kDebug);
  return action();
}

}  // namespace
}  // namespace seer

int main(int argc, char** argv) {
  ::prctl(PR_SET_NAME,
          "seer-train");  // ranks of our launcher are started from /proc/self/exe, and would be named "exe"
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is then a failed write, as a full disk is
  try {
    return seer::run(argc, argv);
  } catch (const seer::Error& e) {
    fmt::print(stderr, "seer-train: {}\n", e.what());
    return e.kind() == seer::ErrorKind::kUsage ? 2 : 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "seer-train: out of memory: see `seer-train plan CONFIG`\n");
    return 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "seer-train: unexpected failure: {}\n", e.what());
    return 1;
  }
}
