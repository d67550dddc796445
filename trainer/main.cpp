// seer-train: the command line. Every mistake ends here as one message and an exit code: 2 usage, 1 run-time
// failure, 75 stopped early (resumable), 76 another rank was lost, 130 interrupted twice.
#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/prctl.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/absent_gpu.h"
#include "trainer/bench/bench_cli.h"
#include "trainer/cli_checks.h"
#include "trainer/commands.h"
#include "trainer/config_tree.h"
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
  command
      ->add_option("--ranks", options->launch.ranks,
                   "So many ranks on this machine's CPUs (default: this process alone)")
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
  command->add_option("text", options->text,
                      "Text, or ids: one argument, in quotes; standard input if not given");
  command->add_flag("--decode", options->decode, "Ids to text");
  command->add_flag("--count", options->count_only, "Print only the number of tokens");
  command->add_flag("--no-special", options->no_special,
                    "Neither add BOS nor recognise special tokens in the text");
  command->callback([=, &action] { action = [=] { return tokenize_command(*options); }; });
}

void add_plan(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("plan", "Memory and time of a config: no step is run");
  const auto options = std::make_shared<PlanOptions>();
  command->add_option("config", options->config, "JSON config file")->required();
  command->add_option("--set", options->overrides, "Override one key")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command
      ->add_option("--gflops", options->gflops,
                   "Matrix products of the machine to plan for (default: measured here)")
      ->check(kPositive);
  command
      ->add_option("--bandwidth", options->bandwidth, "Its memory bandwidth in GB/s (default: measured here)")
      ->check(kPositive);
  command->add_option("--memory", options->memory_gb, "Its memory in GB (default: this machine's)")
      ->check(kPositive);
  command->add_option("--gpu", options->gpu, "A GPU that need not be here: " + known_gpu_names());
  command->add_option("--ranks", options->ranks, "Plan for each of so many ranks")
      ->check(CLI::Range(1, 65536));
  command->callback([=, &action] { action = [=] { return plan_command(*options); }; });
}

std::vector<CLI::App*> subcommands_of(CLI::App& app) {
  return app.get_subcommands([](CLI::App*) { return true; });
}

/// Help shows the values that options have by themselves, but where the text says what an unset one means.
void show_defaults(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const bool named = option->get_description().find("(default: ") != std::string::npos;
    if (named || option->get_default_str() == "[]") option->default_str("");
  }
  for (CLI::App* command : subcommands_of(app)) show_defaults(*command);
}

/// "eval ppl"; of the program itself, its name.
std::string name_of(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr || parent->get_parent() == nullptr ? app.get_name()
                                                              : name_of(*parent) + " " + app.get_name();
}

std::string see_help(const CLI::App& app) {
  return fmt::format("see seer-train {}--help", app.get_parent() == nullptr ? "" : name_of(app) + " ");
}

/// The innermost subcommand that is named. Throws a usage Error of a word in the place of a subcommand that is none; CLI11
/// would not say what was meant.
CLI::App& find_subcommand(CLI::App& app, const std::vector<std::string>& arguments) {
  CLI::App* command = &app;
  std::string_view flag_before;
  for (auto word = arguments.begin() + 1; word != arguments.end(); ++word) {
    const std::vector<CLI::App*> choices = subcommands_of(*command);
    if (choices.empty()) break;
    if (word->starts_with("-")) {
      flag_before = *word;
      continue;
    }
    std::vector<std::string> names;
    names.reserve(choices.size());
    for (const CLI::App* choice : choices) names.push_back(choice->get_name());
    const auto found = std::find(names.begin(), names.end(), *word);
    if (found == names.end()) {
      const std::string near = nearest_word(*word, names);
      if (!flag_before.empty() && near.empty())
        fail_usage("{} {} ..: a subcommand comes first: {}", name_of(*command), flag_before,
                   fmt::join(names, ", "));
      fail_usage("{} has no subcommand {}: {}", name_of(*command), *word,
                 near.empty() ? fmt::format("{} was expected", fmt::join(names, ", "))
                              : fmt::format("did you mean {}?", near));
    }
    command = choices[found - names.begin()];
  }
  return *command;
}

/// "--seq", but not a text like "--- Chapter 1" that some option is given.
bool is_flag(std::string_view word) {
  const auto is_of_name = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; };
  return word.size() > 2 && word.starts_with("--") &&
         std::isalpha(static_cast<unsigned char>(word[2])) != 0 &&
         std::all_of(word.begin(), word.end(), is_of_name);
}

/// Throws a usage Error of the first --flag that neither `command` nor those around it have.
void check_flags(CLI::App& command, const std::vector<std::string>& arguments) {
  std::vector<std::string> names;
  for (CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  for (size_t i = 1; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::string flag = arguments[i].substr(0, arguments[i].find('='));
    if (!is_flag(flag) || std::find(names.begin(), names.end(), flag) != names.end()) continue;
    const std::string near = nearest_word(flag, names);
    fail_usage("{} has no option {}{} ({})", name_of(command), flag,
               near.empty() ? "" : fmt::format(": did you mean {}?", near), see_help(command));
  }
}

int run(int argc, char** argv) {
  CLI::App app("Trains AttnGates: which parts of a frozen model's attention matter");
  app.name("seer-train");
  app.require_subcommand(0, 1);  // none and a misspelt one are told below
  app.option_defaults()->always_capture_default();
  app.fallthrough();  // -v may stand anywhere
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
  add_bench_commands(app, action, arguments);
  add_eval_commands(app, action);
  app.add_subcommand("version", "Version and build")->callback([&action] {
    action = [] {
      fmt::print("{}\n", version_text());
      return 0;
    };
  });
  show_defaults(app);
  CLI::App& command = find_subcommand(app, arguments);
  check_flags(command, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // help or version
    fail_usage("{}: {} ({})", name_of(command), e.what(), see_help(command));
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
